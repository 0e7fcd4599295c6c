"""One run = one papermill execution of one experiment notebook: executed page, record and log, or nothing at all."""

from __future__ import annotations

import datetime
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from fercore import commands, execution, gpus, provenance, results
from fercore.datasets import title
from fercore.errors import FercoreError, UnknownNameError
from fercore.files import atomic_path, digest, write_json
from fercore.sources import name_figures, parameters_of, read_text_notebook

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
    except execution.KernelDiedError:  # of its memory, say, or by a kill: its checkpoints are there
        raise
    except FercoreError:  # it ended, if badly: there is nothing to go on with
        note.unlink(missing_ok=True)
        raise
    except OSError as error:  # no room on the disk, say
        raise FercoreError(
            f"{page.name} of {asked['dataset']} could not be made: {error}. Mend that; then the same command, or "
            "`python -m fercore run --resume`, goes on from here."
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
        return not results.stale(results.read(provenance.project_root() / facts["record"]))
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
    return commands.run_line(*asked_of(page))


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
    return next((page for page in pages() if about(page).get("record") == results.place(record)), None)


def _execute(experiment: str, asked: dict[str, Any], page: Path) -> Any:
    """Run the notebook in a kernel of its own and return the executed notebook."""
    root, dataset = provenance.project_root(), asked["dataset"]
    notebook = read_text_notebook(_source(experiment))
    name_figures(notebook, page.stem.removeprefix(experiment), dataset)
    log = log_path(page)
    with gpus.claimed():
        return execution.execute(
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
    content = results.read(record)
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
