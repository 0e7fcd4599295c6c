"""Run a notebook in a kernel of its own, with one progress line on the terminal and everything else in a log.

What the notebook writes to its standard error (the bars of long work, warnings) goes to the log; the last of it is
shown at the end of the progress line, so that a training of an hour is seen to move.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from fercore.errors import FercoreError


class KernelDiedError(FercoreError):
    """The process that ran the notebook is gone: killed, or out of memory."""


STARTS = 3  # times that a kernel which does not start is tried
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_WIDTH = 40  # characters of the notebook's own bar that are repeated


class ProgressLine:
    """One line: cells done, time gone, time left, and what the notebook says itself.

    It has the methods that papermill calls on a ``tqdm`` bar.

    Args:
        title: What is being run.
        cells: Number of cells.
        expected: Seconds that the run took last time, None if it has not been run.
    """

    def __init__(self, title: str, cells: int, expected: float | None = None) -> None:
        from tqdm import tqdm

        quiet = not sys.stderr.isatty()
        self._bar = tqdm(
            total=cells,
            desc=title,
            file=sys.stderr,
            dynamic_ncols=not quiet,
            mininterval=20.0 if quiet else 0.2,
            bar_format="{desc}: cell {n_fmt}/{total_fmt}, {elapsed} gone{postfix}",
        )
        self._expected, self._started, self._said = expected, time.monotonic(), ""
        self.n = 0

    def update(self, cells: int = 1) -> None:
        """Count cells that are done."""
        self.n += cells
        self._bar.update(cells)
        self._show()

    def say(self, text: str) -> None:
        """Show what the notebook wrote to its standard error."""
        lines = [part.strip() for part in re.split(r"[\r\n]+", _COLOURS.sub("", text)) if part.strip()]
        if lines:
            self._said = lines[-1][:_WIDTH]
            self._show()

    def left(self) -> str:
        """Say how much longer it will take, by the last run where there was one, else by the cells."""
        gone = time.monotonic() - self._started
        if self._expected is not None:
            return f"about {_clock(max(self._expected - gone, 0.0))} left"
        if not self.n:
            return "time left unknown"
        return f"perhaps {_clock(gone / self.n * (self._bar.total - self.n))} left"

    def _show(self) -> None:
        said = f" | {self._said}" if self._said else ""
        self._bar.set_postfix_str(self.left() + said, refresh=False)
        self._bar.update(0)

    def set_description(self, text: str) -> None:
        """Leave the title as it is; papermill names cells here."""

    def refresh(self) -> None:
        """Draw the line now."""
        self._bar.refresh()

    def close(self) -> None:
        """End the line."""
        self._bar.set_postfix_str("", refresh=False)
        self._bar.close()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


class _Log(io.TextIOBase):
    """A text stream that keeps everything in a file and hands it to the progress line.

    The file has no buffer: what finds no room on the disk is dropped, rather than that it ends the run or hides why it
    ended.
    """

    def __init__(self, file: BinaryIO, line: ProgressLine) -> None:
        self._file, self._line = file, line

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._file.write(text.encode("utf-8", errors="replace"))
        self._line.say(text)
        return len(text)


def _engine() -> str:
    """Register an engine of papermill that counts cells on our line; return its name."""
    from papermill.engines import NBClientEngine, papermill_engines

    class OneLine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(
            cls, nb_man: Any, kernel_name: str, line: ProgressLine | None = None, **kwargs: Any
        ) -> None:
            nb_man.pbar = line
            super().execute_managed_notebook(nb_man, kernel_name, **kwargs)

    papermill_engines.register("fercore", OneLine)
    return "fercore"


def execute(
    notebook: Any,
    parameters: dict[str, Any],
    folder: Path,
    title: str,
    log: Path,
    failed: Path,
    expected: float | None = None,
) -> Any:
    """Execute a notebook with papermill.

    Args:
        notebook: The notebook (``nbformat``), with a cell tagged ``parameters``.
        parameters: Values for it.
        folder: Working folder of the kernel, the project's root.
        title: What the progress line and errors call the run.
        log: File for what the notebook writes to standard error; begun anew.
        failed: Where the notebook is put, as far as it came, if it fails.
        expected: Seconds that the run took last time.

    Returns:
        The executed notebook.

    Raises:
        FercoreError: If the notebook raised an error; says where, and names both files.
        KernelDiedError: If its kernel died.
        FercoreError: If its kernel did not start, ``STARTS`` times over.
        OSError: If there is no room for the files.
        KeyboardInterrupt: On Ctrl-C, after the kernel has been stopped.
    """
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillException

    log.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ready, output = temporary / "ready.ipynb", temporary / "executed.ipynb"
        nbformat.write(notebook, ready)
        line = ProgressLine(title, len(notebook.cells) + 1, expected)  # papermill adds a cell
        stack.callback(line.close)
        kept = _Log(stack.enter_context(log.open("wb", buffering=0)), line)
        stack.enter_context(publishing())
        settings: dict[str, Any] = {"engine_name": _engine(), "kernel_name": "python3", "progress_bar": False}
        settings |= {"parameters": parameters, "cwd": str(folder), "stderr_file": kept, "line": line}
        try:
            return _started(
                lambda: papermill.execute_notebook(str(ready), str(output), **settings), kept, line
            )
        except (PapermillException, DeadKernelError) as error:
            said, cell = last_line(error), getattr(error, "exec_count", None)
            where = f" in code cell {cell}" if cell else ""
            kept.write(f"\n{title} stopped{where}: {said}\n")
            told = f"{title} stopped{where}: {said}\nThe notebook as far as it came: {_copy(output, failed, folder)}\n"
            told += f"Its log: {_short(log, folder)}"
            if isinstance(error, DeadKernelError):
                told += "\nThe same command, or `python -m fercore run --resume`, goes on from its last checkpoint."
                raise KernelDiedError(told) from error
            raise FercoreError(told) from error


def _started(run: Callable[[], Any], log: _Log, line: ProgressLine) -> Any:
    """Run a notebook; where its kernel does not start, as on a machine that is overloaded, try again."""
    from nbclient.exceptions import DeadKernelError

    for attempt in range(1, STARTS + 1):
        try:
            return run()
        except RuntimeError as error:  # all that jupyter_client says of a kernel that does not start
            if line.n or isinstance(error, DeadKernelError):
                raise
            log.write(f"\nThe kernel did not start, attempt {attempt} of {STARTS}: {error}\n")
            if attempt == STARTS:
                raise FercoreError(
                    f"The kernel of the notebook did not start, {STARTS} times over: {error}\n"
                    "Free memory and processors, see whether `python -m ipykernel --version` works, and run it again."
                ) from error


def _copy(output: Path, failed: Path, folder: Path) -> str:
    """Keep a notebook that failed, where there is room for it; say where, or why not."""
    try:
        failed.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(output, failed)
    except OSError as error:
        with contextlib.suppress(OSError):
            failed.unlink(missing_ok=True)
        return f"not kept ({error})"
    return _short(failed, folder)


def _short(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


@contextlib.contextmanager
def publishing() -> Iterator[None]:
    """Let the notebook's kernel write its record and weights to ``results/``."""
    before = os.environ.get("FERCORE_PUBLISH")
    os.environ["FERCORE_PUBLISH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["FERCORE_PUBLISH"]
        else:
            os.environ["FERCORE_PUBLISH"] = before


def last_line(error: Exception) -> str:
    """Return the notebook's own error, without colours, from papermill's report of it."""
    name, value = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", str(error))
    return _COLOURS.sub("", f"{name}: {value}")
