"""Command line: ``ferlab`` with ``run``, ``status``, ``refresh``, ``course``, ``pair`` or ``data``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fercore import datasets
from fercore.datasets import DATASETS
from fercore.errors import FercoreError
from ferlab import provenance
from ferlab.runs import records, runner, sources


@dataclass(frozen=True)
class Intent:
    """What one run would do.

    Attributes:
        command: The command line.
        page: The page that it makes.
        fresh: Whether that page is there and fresh, so that nothing would be run.
        reasons: Why not, where there is a record.
        seconds: How long it took last time, None if never.
        data: ``""`` if the dataset can be loaded, else what is missing.
        parameters: All parameters, defaults included.
    """

    command: str
    page: Path
    fresh: bool
    reasons: tuple[str, ...]
    seconds: float | None
    data: str
    parameters: dict[str, Any]


def intent(experiment: str, dataset: str, parameters: dict[str, Any] | None = None) -> Intent:
    """Work out what a run would do, without doing anything.

    Raises:
        UnknownNameError: If there is no such experiment, dataset or parameter.
    """
    asked = runner.check(experiment, dataset, parameters)
    page = runner.page_path(experiment, dataset, asked)
    notebook = runner.read_text_notebook(provenance.project_root() / "notebooks" / f"{experiment}.py")
    about = runner.about(page)
    reasons: tuple[str, ...] = ()
    if about and about.get("asked") != asked:
        reasons = ("it was made with other parameters",)
    elif about and not runner.has_its_record(about):
        reasons = (f"{about['record']} is not the record that it was made with",)
    elif about:
        try:
            reasons = tuple(records.stale(records.read(provenance.project_root() / about["record"])))
        except FercoreError as error:
            reasons = (str(error),)
    return Intent(
        sources.run_line(experiment, dataset, parameters or {}),
        page,
        runner.is_fresh(page, asked),
        reasons,
        about.get("seconds"),
        _missing(dataset),
        runner.parameters_of(notebook) | asked,
    )


def _missing(dataset: str) -> str:
    """Say that a dataset has nothing in the data folder; what lies there is checked when it is loaded."""
    folder = datasets.data_root() / dataset
    if dataset == "faces" or (folder.is_dir() and any(folder.iterdir())):
        return ""
    return f"nothing in {folder}; `ferlab data status` says where to get it"


def describe(found: Intent) -> str:
    """Describe a run that was only planned."""
    root = provenance.project_root()
    page = found.page.relative_to(root) if found.page.is_relative_to(root) else found.page
    state = "is fresh: nothing would be run" if found.fresh else "would be made"
    if found.reasons and not found.fresh:
        state += f" ({'; '.join(found.reasons[:3])}{'; …' if len(found.reasons) > 3 else ''})"
    took = "has not been run here" if found.seconds is None else f"took {found.seconds:.0f} s last time"
    lines = [found.command, f"  page   {page} {state}", f"  time   {took}"]
    lines.append(f"  data   {found.data or 'is there'}")
    given = ", ".join(f"{name}={sources.text(value)}" for name, value in found.parameters.items())
    return "\n".join([*lines, f"  with   {given}"])


def listing() -> str:
    """List the experiments with their titles, and the pages of each with their state."""
    made: dict[str, list[tuple[Path, dict[str, Any]]]] = {}
    for page in runner.pages():
        about = runner.about(page)
        made.setdefault(about.get("experiment", ""), []).append((page, about))
    lines = []
    for experiment in runner.experiments():
        lines.append(f"{experiment}: {_title(experiment)}")
        for page, about in made.get(experiment, []):
            state = "fresh" if runner.is_fresh(page, about["asked"]) else "stale"
            took = f", took {about['seconds']:.0f} s" if "seconds" in about else ""
            lines.append(f"    {page.parent.name}/{page.stem}: {state}{took}")
    for experiment, dataset, parameters in runner.unfinished():
        lines.append(f"unfinished: {sources.run_line(experiment, dataset, parameters)}")
    return "\n".join(lines)


def _title(experiment: str) -> str:
    notebook = runner.read_text_notebook(provenance.project_root() / "notebooks" / f"{experiment}.py")
    first = next(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return first.splitlines()[0].lstrip("# ").strip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0 well, 1 failed, 2 misused."""
    options = _parser().parse_args(arguments)
    try:
        code = options.command(options)
        sys.stdout.flush()  # here, where a closed pipe can still be dealt with
        return code
    except BrokenPipeError:  # the reader has seen enough: `data status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush when Python ends
        return 1
    except (FercoreError, ValueError) as error:
        print(f"ferlab: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ferlab", description="Rerun the book's experiments.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(
        commands.add_parser(
            "run", help="run one experiment notebook on one dataset and put its page into the book"
        )
    )
    status = commands.add_parser("status", help="list the records of all runs and whether they are fresh")
    status.set_defaults(command=_status)
    _add_refresh(
        commands.add_parser("refresh", help="say which runs are stale and what it takes to renew them")
    )
    course = commands.add_parser("course", help="write the course's student and instructor notebooks")
    course.add_argument("folder", help="where student/, instructor/ and their archives go")
    course.set_defaults(command=_course)
    pair = commands.add_parser("pair", help="write notebooks/*.ipynb anew from the reviewed notebooks/*.py")
    pair.set_defaults(command=_pair)
    _add_data_commands(commands.add_parser("data", help="list the datasets, and add one from its archive"))
    return parser


def _add_run(run: argparse.ArgumentParser) -> None:
    run.add_argument("experiment", nargs="?", help=f"one of: {', '.join(runner.experiments())}")
    run.add_argument("--dataset", default="faces", help=f"one of: {', '.join(DATASETS)} (default: faces)")
    for name in ("model", "recipe", "protocol", "fold"):
        run.add_argument(f"--{name}", help=f"short for -p {name}=…")
    run.add_argument(
        "-p", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the notebook"
    )
    run.add_argument("--force", action="store_true", help="run even if the page is fresh")
    run.add_argument("--dry-run", action="store_true", help="say what would be run, and run nothing")
    run.add_argument(
        "--list", action="store_true", help="list the experiments, their pages, what is unfinished"
    )
    run.add_argument(
        "--resume", action="store_true", help="go on with all runs that were begun and not ended"
    )
    run.add_argument("--no-wait", action="store_true", help="fail if another process is making the same page")
    run.add_argument("--stamp", metavar="FILE", help="write there what was made, for a workflow engine")
    run.set_defaults(command=_run)


def _add_refresh(refresh: argparse.ArgumentParser) -> None:
    refresh.add_argument("--committed", action="store_true", help="only runs that are under version control")
    refresh.add_argument("--run", action="store_true", help="renew them, quickest first")
    refresh.add_argument(
        "--minutes", type=float, default=float("inf"), help="with --run: leave out what took longer"
    )
    refresh.set_defaults(command=_refresh)


def _add_data_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add = commands.add_parser(
        "add", help="unpack an official archive, check it, and put it where the loaders look"
    )
    add.add_argument(
        "archive", help="zip, tar or tar.gz as its owner gives it, or a CSV file of FER2013 or FER+"
    )
    add.add_argument("--no-verify", action="store_true", help="do not compare it with the official counts")
    add.set_defaults(command=_data_add)
    status = commands.add_parser("status", help="which datasets are here, and where to get the others")
    status.set_defaults(command=_data_status)
    for command in (add, status):
        command.add_argument("--root", help="the data folder; else FERCORE_DATA, else data/ in the project")


def _value(text: str) -> Any:
    """Read a parameter's value as JSON (numbers, true, false, null), else as plain text; nothing is evaluated."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _parameters(options: argparse.Namespace) -> dict[str, Any]:
    """Read ``-p`` and its short forms."""
    if wrong := [pair for pair in options.p if "=" not in pair]:
        raise ValueError(f"-p {wrong[0]}: write NAME=VALUE, e.g. -p width=0.25.")
    if any(pair.startswith("dataset=") for pair in options.p):
        raise ValueError("-p dataset=…: use --dataset.")
    short = {name: getattr(options, name) for name in ("model", "recipe", "protocol", "fold")}
    short = {name: value for name, value in short.items() if value is not None}
    long = dict(pair.split("=", 1) for pair in options.p)
    if twice := sorted(set(short) & set(long)):
        raise ValueError(f"{twice[0]} is given twice, as --{twice[0]} and as -p {twice[0]}=….")
    return {name: _value(value) for name, value in (long | short).items()}


def _run(options: argparse.Namespace) -> int:
    pass

    if options.list:
        print(listing())
        return 0
    if options.resume:
        return _resume(options)
    if options.experiment is None:
        raise ValueError("run needs an experiment; `ferlab run --list` names them.")
    parameters = _parameters(options)
    if options.dry_run:
        print(describe(intent(options.experiment, options.dataset, parameters)))
        return 0
    code = _run_one(options.experiment, options.dataset, parameters, options.force, not options.no_wait)
    if code == 0 and options.stamp:
        runner.stamp(options.stamp, options.experiment, options.dataset, parameters)
    return code


def _run_one(experiment: str, dataset: str, parameters: dict[str, Any], force: bool, wait: bool) -> int:
    try:
        page, ran = runner.run(experiment, dataset, parameters, force, wait)
    except KeyboardInterrupt:
        print("ferlab: interrupted; the same command, or run --resume, goes on from here.", file=sys.stderr)
        return 130
    place = page.relative_to(provenance.project_root())
    print(f"{experiment} on {dataset}: {'wrote' if ran else 'fresh, not run again:'} {place}")
    return 0


def _resume(options: argparse.Namespace) -> int:
    """Go on with what was interrupted; one failure does not keep the others from being tried."""
    todo = runner.unfinished()
    worst = 0
    for experiment, dataset, parameters in todo:
        try:
            code = _run_one(experiment, dataset, parameters, options.force, not options.no_wait)
        except (FercoreError, ValueError) as error:
            print(f"ferlab: {error}", file=sys.stderr)
            code = 1
        if code == 130:
            return code
        worst = max(worst, code)
    if not todo:
        print("Nothing is unfinished.")
    return worst


def _status(options: argparse.Namespace) -> int:
    paths = records.paths()
    worst = 0
    for path in paths:
        try:
            record = records.read(path)
        except FercoreError as error:
            print(f"DAMAGED: {error}")
            worst = 1
            continue
        reasons = records.stale(record)
        worst = max(worst, int(bool(reasons)))
        print(f"{records.place(path)}: {'fresh' if not reasons else 'STALE: ' + '; '.join(reasons)}")
        if reasons and (page := runner.page_of(path)):
            print(f"    run again: {runner.command(page)}")
    if not paths:
        print("No records yet: run `make book`.")
    return worst


def _refresh(options: argparse.Namespace) -> int:
    from ferlab.runs import freshness

    paths = freshness.committed(records.paths()) if options.committed else None
    runs = freshness.stale_runs(paths)
    if not options.run:
        print(freshness.text(runs))
        return int(bool(runs))
    made, failures = freshness.renew(runs, 60 * options.minutes)
    print(f"{made} of {len(runs)} stale runs made again.")
    for failure in failures:
        print(f"ferlab: {failure}", file=sys.stderr)
    return int(made < len(runs))


def _course(options: argparse.Namespace) -> int:
    from ferlab.runs import handouts

    written = handouts.write(options.folder)
    print(f"wrote {len(written)} files to {options.folder}")
    return 0


def _pair(options: argparse.Namespace) -> int:
    changed = runner.pair()
    print(f"wrote {', '.join(changed)}" if changed else "all notebooks are in step")
    return 0


def _data_add(options: argparse.Namespace) -> int:
    from ferlab.data import add as adding
    from ferlab.data import status as catalogue

    try:
        added = adding.add(options.archive, options.root, verify=not options.no_verify)
    except KeyboardInterrupt:
        print("ferlab: interrupted; nothing has changed.", file=sys.stderr)
        return 130
    print(catalogue.added_text(added))
    return 0


def _data_status(options: argparse.Namespace) -> int:
    from ferlab.data import status as catalogue

    text, damaged = catalogue.status(options.root, progress=sys.stderr.isatty())
    print(text)
    return int(damaged)


if __name__ == "__main__":
    sys.exit(main())
