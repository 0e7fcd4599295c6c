"""One run = one papermill execution of one experiment notebook: executed page, record and log, or nothing at all."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from fercore.checkpoints import atomic_path, digest, write_json
from fercore.datasets import title
from fercore.errors import FercoreError, UnknownNameError
from ferlab import provenance
from ferlab.runs import records, sources
from ferlab.runs.sources import name_figures, parameters_of, read_text_notebook

if TYPE_CHECKING:
    from filelock import FileLock

VARIABLE = "FERCORE_GPUS"
_PAUSE = 0.5  # seconds between two looks for a free device


def listed() -> list[str]:
    """Return the devices named in ``FERCORE_GPUS``: numbers or UUIDs, as ``CUDA_VISIBLE_DEVICES`` takes them.

    Raises:
        ValueError: If a name holds other characters than letters, digits, dots, slashes, underscores and hyphens.
    """
    names = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    for name in names:
        if not all(character.isalnum() or character in "-_/." for character in name):
            raise ValueError(f"{VARIABLE}: {name!r} is not a device; write e.g. {VARIABLE}=0,1.")
    return list(dict.fromkeys(names))


@contextlib.contextmanager
def claimed(folder: Path | None = None) -> Iterator[str | None]:
    """Claim a device for the processes that are started inside; None where ``FERCORE_GPUS`` is not set.

    Args:
        folder: Where the locks lie; ``runs/`` of the project by default.

    Yields:
        The device, which is also in ``CUDA_VISIBLE_DEVICES`` until the end.
    """
    from filelock import FileLock

    names = listed()
    if not names:
        yield None
        return
    folder = provenance.project_root() / "runs" if folder is None else folder
    folder.mkdir(parents=True, exist_ok=True)
    locks = {name: FileLock(folder / f"gpu-{name.replace('/', '_')}.lock") for name in names}
    name = _first_free(locks)
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = name
    try:
        yield name
    finally:
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before
        locks[name].release()


def _first_free(locks: Mapping[str, FileLock]) -> str:
    """Wait until one of the locks can be taken, and take it."""
    from filelock import Timeout

    while True:
        for name, lock in locks.items():
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=0)
                return name
        time.sleep(_PAUSE)


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
                told += "\nThe same command, or `ferlab run --resume`, goes on from its last checkpoint."
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


COURSE = "course_"  # what the names of the course's chapters begin with
_IDENTITY = ("model", "fusion", "recipe", "protocol", "fold")
_TIMINGS = ("execution", "papermill", "collapsed", "jupyter")
_FACTS = {
    "experiment": str,
    "dataset": str,
    "asked": dict,
    "record": str,
}  # what a page says of its run, at least
_DAMAGE = (OSError, ValueError, KeyError, TypeError, RecursionError)  # what reading foreign JSON may raise


def experiments() -> list[str]:
    """Return the names of the experiment notebooks."""
    return sorted(path.stem for path in (provenance.project_root() / "notebooks").glob("*.py"))


def page_path(experiment: str, dataset: str, parameters: dict[str, Any] | None = None) -> Path:
    """Return where the executed page of a run lies.

    Its name repeats the parameters that tell one run of an experiment from another, where they are given: model,
    fusion, recipe, protocol and fold, e.g. ``accuracy-vgg16-strong.ipynb``.
    """
    given = [str(parameters[name]) for name in _IDENTITY if name in parameters] if parameters else []
    return provenance.project_root() / "book" / "runs" / dataset / f"{'-'.join([experiment, *given])}.ipynb"


def run(
    experiment: str,
    dataset: str = "faces",
    parameters: dict[str, Any] | None = None,
    force: bool = False,
    wait: bool = True,
) -> tuple[Path, bool]:
    """Execute an experiment notebook on a dataset and put the page into the book.

    Two processes that are told to make the same page do not do so twice: the second waits, and then finds it fresh. A
    run that was interrupted leaves its checkpoints and a note (:func:`unfinished`), and goes on from there next time.

    Args:
        experiment: Name of the notebook.
        dataset: Name of the dataset.
        parameters: Values for the notebook's parameters cell, by name.
        force: Run even if the page is fresh.
        wait: Wait for another process that makes the same page; False refuses.

    Returns:
        The page, and whether it was run now (False: it was fresh).

    Raises:
        UnknownNameError: If there is no such experiment, dataset or parameter.
        ValueError: If a parameter cannot be part of a file's name where it has to, or is no JSON.
        FercoreError: If the notebook raised an error, the page and the record are then left as they were; if its kernel
            died or the disk is full; or if another process is making the page and ``wait`` is False.
    """
    from filelock import FileLock, Timeout

    asked = check(experiment, dataset, parameters)
    page = page_path(experiment, dataset, asked)
    if not force and is_fresh(page, asked):
        return page, False
    note = _note(page)
    note.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(note.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise FercoreError(f"Another process is making {page.name} of {dataset}; nothing done.") from None
        print(f"Another process is making {page.name} of {dataset}: waiting for it.", file=sys.stderr)
        lock.acquire()
        force = False  # it has just been made
    try:
        if not force and is_fresh(page, asked):
            return page, False
        _make(experiment, asked, page, note)
    finally:
        lock.release()
    return page, True


def _make(experiment: str, asked: dict[str, Any], page: Path, note: Path) -> None:
    """Run and publish; the note is there for as long as there is something to go on with."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    try:
        write_json(note, {"experiment": experiment, "asked": asked, "started": now, "process": os.getpid()})
        _publish(_execute(experiment, asked, page), experiment, asked, page)
    except KernelDiedError:  # of its memory, say, or by a kill: its checkpoints are there
        raise
    except FercoreError:  # it ended, if badly: there is nothing to go on with
        note.unlink(missing_ok=True)
        raise
    except OSError as error:  # no room on the disk, say
        raise FercoreError(
            f"{page.name} of {asked['dataset']} could not be made: {error}. Mend that; then the same command, or "
            "`ferlab run --resume`, goes on from here."
        ) from error
    note.unlink(missing_ok=True)


def check(experiment: str, dataset: str, parameters: dict[str, Any] | None) -> dict[str, Any]:
    """Check names before anything runs; return the parameters with the dataset among them.

    Raises:
        UnknownNameError: If there is no such experiment, dataset or parameter.
        ValueError: If a parameter that becomes part of the page's name cannot be part of a file's name.
    """
    title(dataset)
    if experiment not in experiments():
        raise UnknownNameError(f"There is no experiment {experiment!r}; choose {', '.join(experiments())}.")
    asked = {**(parameters or {}), "dataset": dataset}
    source = _source(experiment)
    known = parameters_of(read_text_notebook(source))
    if unknown := sorted(set(asked) - set(known)):
        raise UnknownNameError(
            f"{source.name} has no parameter {', '.join(unknown)}; it has {', '.join(sorted(known))}."
        )
    for name in _IDENTITY:
        if not re.fullmatch(r"[\w.+-]{0,60}", str(asked.get(name, ""))):
            raise ValueError(
                f"{name}={asked[name]!r} becomes part of a file's name: choose letters, digits, dots and hyphens."
            )
    return asked


def _source(experiment: str) -> Path:
    return provenance.project_root() / "notebooks" / f"{experiment}.py"


def _note(page: Path) -> Path:
    """Return where it is noted that a page is being made."""
    return provenance.project_root() / "runs" / page.parent.name / f"{page.stem}.started.json"


def stamp(path: str | Path, experiment: str, dataset: str, parameters: dict[str, Any] | None = None) -> None:
    """Write which page and record a run has, and their checksums, for a workflow engine that watches files."""
    page = page_path(experiment, dataset, {**(parameters or {}), "dataset": dataset})
    record = about(page)["record"]
    root = provenance.project_root()
    made = {"page": page.relative_to(root).as_posix(), "page_sha256": digest(page)}
    write_json(path, made | {"record": record, "record_sha256": digest(root / record)})


def stamped(path: str | Path) -> Path:
    """Return the record that a stamp names.

    Raises:
        FercoreError: If the stamp is damaged, or the record has changed since.
    """
    try:
        known = json.loads(Path(path).read_text(encoding="utf-8"))
        record = provenance.project_root() / known["record"]
        same = record.is_file() and digest(record) == known["record_sha256"]
    except _DAMAGE as error:
        raise FercoreError(
            f"{path} is not a stamp of a run ({error}). Delete it and run the grid again."
        ) from error
    if not same:
        raise FercoreError(
            f"{record} is not what {path} was written for. Delete the stamp and run the grid again."
        )
    return record


def log_path(page: Path) -> Path:
    """Return the log of the last attempt to make a page."""
    return provenance.project_root() / "runs" / page.parent.name / f"{page.stem}.log"


def unfinished() -> list[tuple[str, str, dict[str, Any]]]:
    """Return experiment, dataset and parameters of runs that were begun and not ended, oldest first."""
    found = []
    for path in (provenance.project_root() / "runs").glob("*/*.started.json"):
        try:
            note = json.loads(path.read_text(encoding="utf-8"))
            asked = dict(note["asked"])
            names = note["started"], note["experiment"], asked.pop("dataset")
            if not all(isinstance(name, str) for name in names):
                raise TypeError("names are text")
            found.append((*names, asked))
        except _DAMAGE:
            path.unlink(missing_ok=True)  # half a note: nobody can say what it was about
    return [
        (experiment, dataset, asked) for _, experiment, dataset, asked in sorted(found, key=lambda f: f[0])
    ]


def is_fresh(page: Path, parameters: dict[str, Any]) -> bool:
    """Whether the page was run with these parameters by code that has not changed since."""
    facts = about(page)
    if facts.get("asked") != parameters or not has_its_record(facts):
        return False
    try:
        return not records.stale(records.read(provenance.project_root() / facts["record"]))
    except FercoreError:
        return False


def has_its_record(facts: dict[str, Any]) -> bool:
    """Whether the record that a page names is there and the one it was made with, by its checksum."""
    try:
        return digest(provenance.project_root() / facts["record"]) == facts["record_sha256"]
    except (OSError, ValueError, KeyError):
        return False


def about(page: Path) -> dict[str, Any]:
    """Return what a page says of its run; nothing if it is absent or damaged, for then it is to be made anew."""
    try:
        facts = json.loads(page.read_text(encoding="utf-8"))["metadata"]["fercore"]
        whole = all(isinstance(facts[name], kind) for name, kind in _FACTS.items())
        return facts if whole and isinstance(facts.get("seconds", 0), int | float) else {}
    except (*_DAMAGE, AttributeError):
        return {}


def command(page: Path) -> str:
    """Return the command line that makes a page again with the parameters it was made with, quoted for a shell."""
    return sources.run_line(*asked_of(page))


def asked_of(page: Path) -> tuple[str, str, dict[str, Any]]:
    """Return experiment, dataset and parameters that a page was made with.

    Raises:
        FercoreError: If the page is damaged.
    """
    facts = about(page)
    if not facts:
        raise FercoreError(f"{page} does not say what it was made with; run its experiment by name.")
    asked = {name: value for name, value in facts["asked"].items() if name != "dataset"}
    return facts["experiment"], facts["dataset"], asked


def pages() -> list[Path]:
    """Return all executed pages of the book, sorted."""
    return sorted((provenance.project_root() / "book" / "runs").glob("*/[!.]*.ipynb"))


def page_of(record: Path) -> Path | None:
    """Return the page that a record belongs to, None if there is none."""
    return next((page for page in pages() if about(page).get("record") == records.place(record)), None)


def _execute(experiment: str, asked: dict[str, Any], page: Path) -> Any:
    """Run the notebook in a kernel of its own and return the executed notebook."""
    root, dataset = provenance.project_root(), asked["dataset"]
    notebook = read_text_notebook(_source(experiment))
    name_figures(notebook, page.stem.removeprefix(experiment), dataset)
    log = log_path(page)
    with claimed():
        return execute(
            notebook,
            asked,
            root,
            f"{experiment} on {dataset}",
            log,
            log.with_suffix(".failed.ipynb"),
            about(page).get("seconds"),
        )


def _publish(notebook: Any, experiment: str, asked: dict[str, Any], page: Path) -> None:
    """Tidy an executed notebook for the book and write it, whole or not at all."""
    import nbformat

    record = _record_of(notebook)
    content = records.read(record)
    for number, cell in enumerate(notebook.cells):
        _tidy(cell, number)
    first = next(cell for cell in notebook.cells if cell.cell_type == "markdown")
    variant = "".join(f", {asked[name]}" for name in _IDENTITY if name in asked)
    if not (experiment.startswith(COURSE) and asked["dataset"] == "faces"):  # a chapter's own title is enough
        variant += f": {title(asked['dataset'])}"
    first.source = re.sub(r"\A# (.*)", rf"# \1{variant}", first.source)
    shown = (
        "commit",
        "started",
        "seconds",
        "seed",
        "hardware",
        "versions",
        "data_checksum",
    )
    notebook.metadata.pop("papermill", None)
    notebook.metadata["fercore"] = {
        "experiment": experiment,
        "dataset": asked["dataset"],
        "asked": asked,
        "parameters": content["parameters"],
        "record": record.relative_to(provenance.project_root()).as_posix(),
        "record_sha256": digest(record),
        **{name: content["provenance"][name] for name in shown},
    }
    with atomic_path(page) as temporary:
        nbformat.write(notebook, temporary)


def _record_of(notebook: Any) -> Path:
    """Find the record that the notebook says it has written (its last line ``Record: <path>``)."""
    texts = [o.text for c in notebook.cells if c.cell_type == "code" for o in c.outputs if "text" in o]
    found = re.findall(r"^Record: (\S+)$", "".join(texts), flags=re.MULTILINE)
    if not found:
        raise FercoreError("The notebook printed no 'Record: <path>' line: it must end with Run.finish(...).")
    return provenance.project_root() / found[-1]


def _tidy(cell: Any, number: int) -> None:
    """Drop what differs between two equal runs, and hide the two parameter cells from readers."""
    cell.id = f"cell-{number}"
    tags = set(cell.metadata.get("tags", []))
    if "parameters" in tags:
        tags.add("remove-cell")
    if "injected-parameters" in tags:
        tags.add("hide-input")
    for key in _TIMINGS:
        cell.metadata.pop(key, None)
    cell.metadata["tags"] = sorted(tags)
    if cell.cell_type == "code":
        cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]  # progress bars


def pair(write: bool = True) -> list[str]:
    """Bring every ``notebooks/<name>.ipynb`` in step with its reviewed text ``notebooks/<name>.py``.

    Args:
        write: Write what differs; False only says what would be written.

    Returns:
        The names of the notebooks that differed.
    """
    import nbformat

    changed = []
    for text in sorted((provenance.project_root() / "notebooks").glob("*.py")):
        notebook = read_text_notebook(text)
        wanted, path = nbformat.writes(notebook) + "\n", text.with_suffix(".ipynb")
        if not path.is_file() or path.read_text(encoding="utf-8") != wanted:
            changed.append(text.stem)
            if write:
                with atomic_path(path) as temporary:
                    temporary.write_text(wanted, encoding="utf-8")
    return changed
