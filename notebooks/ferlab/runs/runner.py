"""One run = one execution of one experiment notebook: an executed page, a record and a log, or nothing at all."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fercore.checkpoints import atomic_path, digest, write_json
from fercore.datasets import title
from fercore.errors import FercoreError, UnknownNameError
from ferlab import provenance
from ferlab.runs import kernels, records, sources
from ferlab.runs.sources import name_figures, parameters_of, read_text_notebook

COURSE = "course_"  # what the names of the course's chapters begin with
_IDENTITY = ("model", "fusion", "recipe", "protocol", "fold")
_TIMINGS = ("execution", "papermill", "collapsed", "jupyter")
_SHOWN = ("commit", "started", "seconds", "seed", "hardware", "versions", "data_checksum")  # of its record
_TEXTS = ("experiment", "dataset", "record", "record_sha256")  # what a page says of its run, at least
# What reading foreign JSON may raise.
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


def run(
    experiment: str,
    dataset: str = "faces",
    parameters: dict[str, Any] | None = None,
    force: bool = False,
    wait: bool = True,
    publish: bool = False,
) -> tuple[Path, bool]:
    """Make the page of an experiment on a dataset, unless it is fresh; return it, and whether it was made now.

    Of two processes with the same page the second waits and then finds it fresh; with ``wait=False`` it gives up.
    ``publish`` puts it into the book even if another run's page has its name there.
    """
    asked = check(experiment, dataset, parameters)
    page = page_path(experiment, dataset, asked, publish)
    if not force and is_fresh(page, asked):
        return page, False
    lock = FileLock(_beside(page, ".started.lock"))
    Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise FercoreError(f"Another process is making {page.name} of {dataset}; nothing done.") from None
        print(f"Another process is making {page.name} of {dataset}: waiting for it.", file=sys.stderr)
        held, force = lock.acquire(), False  # it has just been made
    with held:
        if stale := force or not is_fresh(page, asked):
            _make(experiment, asked, page)
    return page, stale


def _make(experiment: str, asked: dict[str, Any], page: Path) -> None:
    """Run and publish; a note is there for as long as there is something to go on with."""
    note, dataset = _beside(page, ".started.json"), asked["dataset"]
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    notebook, before = read_text_notebook(source(experiment)), about(page).get("seconds")
    name_figures(notebook, page.stem.removeprefix(experiment), dataset)
    try:
        public, log = page.is_relative_to(_book()), _beside(page, ".log")
        about_it = {"experiment": experiment, "asked": asked, "publish": public, "process": os.getpid()}
        write_json(note, {**about_it, "started": now})
        variables = {"FERCORE_PUBLISH": str(int(public)), "FERCORE_RUN": key(experiment, dataset, asked)}
        executed = kernels.execute(notebook, asked, f"{experiment} on {dataset}", log, before, variables)
        _publish(executed, experiment, asked, page)
    except kernels.KernelDiedError:  # of its memory, say, or by a kill: its checkpoints are there
        raise
    except FercoreError:  # it ended, if badly: there is nothing to go on with
        note.unlink(missing_ok=True)
        raise
    except OSError as error:  # no room on the disk, say
        then = "Mend that; then the same command, or `ferlab run --resume`, goes on from here."
        raise FercoreError(f"{page.name} of {dataset} could not be made: {error}. {then}") from error
    note.unlink(missing_ok=True)


def experiments() -> list[str]:
    """Return the names of the experiment notebooks; an error outside a checkout, where there are none."""
    folder = provenance.project_root() / "notebooks"
    if not (found := sorted(path.stem for path in folder.glob("*.py"))):
        raise FercoreError(f"{folder} holds no notebooks: ferlab works in a checkout of the project.")
    return found


def source(experiment: str) -> Path:
    """Return the reviewed text of an experiment's notebook."""
    return provenance.project_root() / "notebooks" / f"{experiment}.py"


def check(experiment: str, dataset: str, parameters: dict[str, Any] | None) -> dict[str, Any]:
    """Check names and types before anything runs; return the parameters with the dataset among them."""
    title(dataset)
    if experiment not in experiments():
        raise UnknownNameError(f"There is no experiment {experiment!r}; choose {', '.join(experiments())}.")
    asked = {**(parameters or {}), "dataset": dataset}
    sources.check(asked, source(experiment))
    for name in _IDENTITY:
        if not re.fullmatch(r"[\w.+-]{0,60}", str(asked.get(name, ""))):
            wanted = "becomes part of a file's name: choose letters, digits, dots and hyphens."
            raise ValueError(f"{name}={asked[name]!r} {wanted}")
    return asked


def key(experiment: str, dataset: str, parameters: Mapping[str, Any]) -> str:
    """Return the short checksum that a run is known by: experiment, dataset, and what differs from the defaults.

    So a parameter that is given its default, or is added later, makes no other run.
    """
    own = _differing(experiment, parameters)
    return hashlib.sha256(json.dumps([experiment, dataset, own], sort_keys=True).encode()).hexdigest()[:8]


def _differing(experiment: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that differ from their defaults, without the dataset."""
    known = parameters_of(source(experiment)) if source(experiment).is_file() else {}
    whole = {n for n, v in parameters.items() if isinstance(v, int) and isinstance(known.get(n), float)}
    said = {n: float(v) if n in whole and abs(v) < 2**53 else v for n, v in parameters.items()}
    said.pop("dataset", None)
    return {n: v for n, v in said.items() if n not in known or known[n] != v}


def page_path(
    experiment: str, dataset: str, parameters: Mapping[str, Any] | None = None, publish: bool = False
) -> Path:
    """Return where the page of a run lies; its name repeats what was asked for, e.g. ``accuracy-vgg16.ipynb``.

    It is the book's page of that run on these data, if there is one. Else it lies below ``runs/pages/``, with the run's
    key in its name, unless it is to be published, or has all its defaults and no page stands in its place.
    """
    asked, folder = parameters or {}, _book() / dataset
    wanted = key(experiment, dataset, asked)
    for page in sorted(folder.glob(f"{experiment}*.ipynb")):
        facts = about(page)
        same = facts and key(facts["experiment"], dataset, facts["asked"]) == wanted
        if same and (publish or not records.other_data(experiment, dataset, facts.get("data_checksum"))):
            return page
    said = asked if publish else _differing(experiment, asked)
    name = "-".join([experiment, *(str(said[name]) for name in _IDENTITY if name in said)])
    page = folder / f"{name}.ipynb"
    if publish or (wanted == key(experiment, dataset, {}) and not about(page)):
        return page
    return provenance.project_root() / "runs" / "pages" / dataset / f"{name}-{wanted}.ipynb"


def _book() -> Path:
    return provenance.project_root() / "book" / "runs"


def _beside(page: Path, suffix: str) -> Path:
    """Return a file of the attempts to make a page: their note (its lock beside it) or their log."""
    return provenance.project_root() / "runs" / page.parent.name / f"{page.stem}{suffix}"


def pages(own: bool = False) -> list[Path]:
    """Return all executed pages of the book, sorted, or those besides it."""
    folder = provenance.project_root() / "runs" / "pages" if own else _book()
    return sorted(folder.glob("*/[!.]*.ipynb"))


def about(page: Path) -> dict[str, Any]:
    """Return what a page says of its run; nothing if it is absent or damaged, for then it is to be made anew."""
    try:
        facts = json.loads(page.read_text(encoding="utf-8"))["metadata"]["fercore"]
        texts = all(isinstance(facts[name], str) for name in _TEXTS)
        return facts if texts and isinstance(facts["asked"], dict) and facts["seconds"] >= 0 else {}
    except _DAMAGE:
        return {}


def asked_of(page: Path) -> tuple[str, str, dict[str, Any]]:
    """Return experiment, dataset and parameters that a page was made with; a damaged page is an error."""
    if not (facts := about(page)):
        raise FercoreError(f"{page} does not say what it was made with; run its experiment by name.")
    asked = {name: value for name, value in facts["asked"].items() if name != "dataset"}
    return facts["experiment"], facts["dataset"], asked


def command(page: Path) -> str:
    """Return the command line that makes a page again with the parameters it was made with, quoted for a shell."""
    return sources.run_line(*asked_of(page))


def why_stale(page: Path, asked: dict[str, Any] | None = None) -> list[str]:
    """Return why a page has to be made, for the parameters that it has or for others; nothing if it is fresh."""
    if not (facts := about(page)):
        return ["it is not there"]
    names = facts["experiment"], facts["dataset"]
    if asked is not None and key(*names, asked) != key(*names, facts["asked"]):
        return ["it was made with other parameters"]
    record = provenance.project_root() / facts["record"]
    try:
        content = records.read(record)
        if digest(record) != facts["record_sha256"]:
            return ["its record is not the one that the page was made with, by its checksum"]
    except (FercoreError, ValueError) as error:
        return [str(error)]
    return records.stale(content)


def is_fresh(page: Path, asked: dict[str, Any]) -> bool:
    """Whether the page was run with these parameters by code that has not changed since."""
    return not why_stale(page, asked)


def _publish(notebook: Any, experiment: str, asked: dict[str, Any], page: Path) -> None:
    """Tidy an executed notebook for the book and write it, whole or not at all."""
    import nbformat

    printed = "".join(out.get("text", "") for cell in notebook.cells for out in cell.get("outputs", []))
    if not (found := re.findall(r"^Record: (\S+)$", printed, flags=re.MULTILINE)):
        raise FercoreError("The notebook printed no 'Record: <path>' line: it must end with Run.finish(...).")
    record = provenance.project_root() / found[-1]
    content = records.read(record)
    for number, cell in enumerate(notebook.cells):
        _tidy(cell, number)
    variant = "".join(f", {asked[name]}" for name in _IDENTITY if name in asked)
    if not (experiment.startswith(COURSE) and asked["dataset"] == "faces"):  # a chapter's own title is enough
        variant += f": {title(asked['dataset'])}"
    first = next(cell for cell in notebook.cells if cell.cell_type == "markdown")
    first.source = re.sub(r"\A# (.*)", rf"# \1{variant}", first.source)
    notebook.metadata.pop("papermill", None)
    notebook.metadata["fercore"] = {
        "experiment": experiment,
        "dataset": asked["dataset"],
        "asked": asked,
        "parameters": content["parameters"],
        "record": found[-1],
        "record_sha256": digest(record),
        **{name: content["provenance"][name] for name in _SHOWN},
    }
    with atomic_path(page) as temporary:
        nbformat.write(notebook, temporary)


def _tidy(cell: Any, number: int) -> None:
    """Drop what differs between two equal runs, and hide the two parameter cells from readers."""
    cell.id = f"cell-{number}"
    tags = set(cell.metadata.get("tags", []))
    tags |= {"remove-cell"} if "parameters" in tags else set()
    tags |= {"hide-input"} if "injected-parameters" in tags else set()
    for key in _TIMINGS:
        cell.metadata.pop(key, None)
    cell.metadata["tags"] = sorted(tags)
    if cell.cell_type == "code":
        cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]  # progress bars


def unfinished() -> list[tuple[str, str, dict[str, Any], bool]]:
    """Return runs that were begun and not ended, oldest first: what :func:`run` takes, and whether to publish."""
    found = []
    for path in (provenance.project_root() / "runs").glob("*/*.started.json"):
        try:
            note = json.loads(path.read_text(encoding="utf-8"))
            asked = dict(note["asked"])
            texts = note["started"], note["experiment"], asked.pop("dataset")
            if not all(isinstance(text, str) for text in texts):
                raise TypeError("names are text")
            found.append((*texts, asked, note.get("publish") is True))
        except _DAMAGE:
            path.unlink(missing_ok=True)  # half a note: nobody can say what it was about
    return [run[1:] for run in sorted(found, key=lambda run: run[0])]


def stamp(path: str | Path, experiment: str, dataset: str, parameters: dict[str, Any]) -> None:
    """Write which page and record a run has, and their checksums, for a workflow engine that watches files."""
    page = page_path(experiment, dataset, parameters)
    record = {name: about(page)[name] for name in ("record", "record_sha256")}
    write_json(path, {"page": records.place(page), "page_sha256": digest(page), **record})


def stamped(path: str | Path) -> Path:
    """Return the record that a stamp names; an error if the stamp is damaged, or the record has changed since."""
    try:
        known = json.loads(Path(path).read_text(encoding="utf-8"))
        record = provenance.project_root() / known["record"]
        if digest(record) != known["record_sha256"]:
            raise ValueError(f"{record} is another one now")
    except _DAMAGE as error:
        raise FercoreError(f"{path} fits no record: {error}. Delete it and run the grid again.") from error
    return record


def pair(write: bool = True) -> list[str]:
    """Bring ``notebooks/<name>.ipynb`` in step with the reviewed ``<name>.py``, or only see; return what differed."""
    import nbformat

    changed = []
    for text in map(source, experiments()):
        wanted, path = nbformat.writes(read_text_notebook(text)) + "\n", text.with_suffix(".ipynb")
        if not path.is_file() or path.read_text(encoding="utf-8") != wanted:
            changed.append(text.stem)
            if write:
                with atomic_path(path) as temporary:
                    temporary.write_text(wanted, encoding="utf-8")
    return changed
