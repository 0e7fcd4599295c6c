"""A kernel that executes one notebook: its device, its threads, what it says, and what becomes of it."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fercore.checkpoints import atomic_path
from fercore.errors import FercoreError
from ferlab import provenance
from ferlab.runs.records import place

GPUS = "FERCORE_GPUS"
STARTS = 3  # times that a kernel which does not start is tried
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class KernelDiedError(FercoreError):
    """The process that ran the notebook is gone: killed, or out of memory."""


def execute(
    notebook: Any,
    parameters: dict[str, Any],
    title: str,
    log: Path,
    seconds: float | None,
    variables: Mapping[str, str],
) -> Any:
    """Execute a notebook (``nbformat``) with papermill in the project's root, and return it.

    What it writes to standard error goes to ``log``; if it fails, it lies beside it as far as it came. ``seconds`` is
    what it took last time; ``variables`` are set in its environment.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillException

    before = "" if seconds is None else f", {seconds:.0f} s last time"
    bar = {"desc": title + before, "dynamic_ncols": True, "mininterval": 0.1 if sys.stderr.isatty() else 20}
    variables = {**threads(), **os.environ, **variables}
    with tempfile.TemporaryDirectory() as folder, _Said(log) as said, environment(variables), claimed():
        output = Path(folder, "executed.ipynb")
        settings = {"kernel_name": "python3", "cwd": provenance.project_root(), "stderr_file": said}
        settings["extra_arguments"] = ["--IPKernelApp.log_level=40"]  # no warning that breaks the bar
        for attempt in range(1, STARTS + 1):
            try:
                return papermill.execute_notebook(notebook, output, parameters, progress_bar=bar, **settings)
            except (PapermillException, DeadKernelError) as error:
                why = f"{getattr(error, 'ename', type(error).__name__)}: {getattr(error, 'evalue', error)}"
                cell = getattr(error, "exec_count", None)
                where = f" in code cell {cell}" if cell else ""
                told = f"{title} stopped{where}: {_COLOURS.sub('', why)}\n"
                said.write("\n" + told)
                told += f"The notebook as far as it came: {_saved(output, log)}\nIts log: {place(log)}"
                if not isinstance(error, DeadKernelError):
                    raise FercoreError(told) from error
                told += "\nThe same command, or `ferlab run --resume`, goes on from its last checkpoint."
                raise KernelDiedError(told) from error
            except RuntimeError as error:  # all that jupyter_client says of a kernel that does not start
                reason = error
                said.write(f"\nThe kernel did not start, attempt {attempt} of {STARTS}: {error}\n")
    raise FercoreError(
        f"The kernel of the notebook did not start, {STARTS} times over: {reason}\n"
        "Free memory and processors, see whether `python -m ipykernel --version` works, and run it again."
    )


class _Said(io.FileIO):
    """What a notebook writes to standard error: all of it in a file, its last line below papermill's bar of cells.

    There is no buffer: what finds no room on the disk is dropped, rather than that it hides why a run ended.
    """

    def __init__(self, path: Path) -> None:
        shown = {"bar_format": "{desc}", "position": 1, "leave": False, "miniters": 0, "dynamic_ncols": True}
        self._line = tqdm(disable=not sys.stderr.isatty(), **shown)
        super().__init__(path, "w")

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            super().write(text.encode("utf-8", errors="replace"))
        if lines := re.findall(r"[^\r\n]*\S", _COLOURS.sub("", text)):
            self._line.set_description_str(lines[-1], refresh=False)
            self._line.update(0)

    def close(self) -> None:
        self._line.close()
        super().close()


def _saved(output: Path, log: Path) -> str:
    """Save a notebook that failed beside its log, where there is room for it; say where, or why not."""
    failed = log.with_suffix(".failed.ipynb")
    try:
        with atomic_path(failed) as temporary:
            shutil.copyfile(output, temporary)
    except OSError as error:
        return f"not kept ({error})"
    return place(failed)


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Give the processes that are started inside these variables."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def threads() -> dict[str, str]:
    """Return variables for OpenMP: waiting threads sleep, and beside other work there is one for each free processor.

    What runs now counts. The load average proper lags by a minute, so that the last run would slow down the next.
    """
    variables, known = {"OMP_WAIT_POLICY": "PASSIVE"}, Path("/proc/loadavg")
    if known.exists():  # Linux
        looks = []
        for _ in range(9):
            looks.append(int(known.read_text().split()[3].split("/")[0]) - 1)  # but for this process
            time.sleep(0.02)
        free = (os.cpu_count() or 1) - round(statistics.median(looks))
        if free < len(os.sched_getaffinity(0)):
            variables["OMP_NUM_THREADS"] = str(max(free, 1))
    return variables


@contextlib.contextmanager
def claimed() -> Iterator[str | None]:
    """Claim a device of ``FERCORE_GPUS`` for the processes that are started inside; None where that is not set."""
    from filelock import FileLock, Timeout

    names = [name.strip() for name in os.environ.get(GPUS, "").split(",") if name.strip()]
    if wrong := [name for name in names if not re.fullmatch(r"[\w./-]+", name)]:
        raise ValueError(f"{GPUS}: {wrong[0]!r} is not a device; write e.g. {GPUS}=0,1.")
    folder = provenance.project_root() / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    for name in itertools.cycle(names):
        try:
            # For a moment; then the next one.
            held = FileLock(folder / f"gpu-{name.replace('/', '_')}.lock").acquire(timeout=0.2)
        except Timeout:
            continue
        with held, environment({"CUDA_VISIBLE_DEVICES": name}):
            yield name
        return
    yield None
