"""Command line: ``ferlab`` with ``run``, ``status``, ``refresh``, ``course``, ``pair`` or ``data``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fercore import datasets
from fercore.errors import FercoreError
from ferlab import provenance
from ferlab.data import add as adding
from ferlab.data import status as catalogue
from ferlab.runs import freshness, handouts, records, runner, sources


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0 well, 1 failed, 2 misused, 130 interrupted."""
    stopped: list[int] = []

    def stop(number: int, _: Any) -> None:
        """Stop as by Ctrl-C, where a scheduler asks for it."""
        stopped.append(128 + number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        code = ferlab.main(arguments, prog_name="ferlab", standalone_mode=False)
        sys.stdout.flush()  # here, where a closed pipe can still be dealt with
        return code or 0
    except BrokenPipeError:  # the reader has seen enough: `data status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush when Python ends
        return 1
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (FercoreError, ValueError, OSError) as error:
        return _failed(error)
    except (click.Abort, KeyboardInterrupt):
        print("ferlab: interrupted; the same command, or run --resume, goes on from here.", file=sys.stderr)
        return stopped[0] if stopped else 130
    finally:
        signal.signal(signal.SIGTERM, before)


def _failed(why: object) -> int:
    print(f"ferlab: {why}", file=sys.stderr)
    return 1


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def ferlab() -> None:
    """Rerun the book's experiments."""


@ferlab.command()
@click.argument("experiment", required=False)
@click.option("--dataset", default="faces", show_default=True, help=f"one of: {', '.join(datasets.DATASETS)}")
@click.option("--model", help="short for -p model=…")
@click.option("--recipe", help="short for -p recipe=…")
@click.option("--protocol", help="short for -p protocol=…")
@click.option("--fold", help="short for -p fold=…")
@click.option("-p", "pairs", multiple=True, metavar="NAME=VALUE", help="a parameter of the notebook")
@click.option("--force", is_flag=True, help="run even if the page is fresh")
@click.option("--publish", is_flag=True, help="put its page into the book, in the place of one of that name")
@click.option("--dry-run", is_flag=True, help="say what would be run, and run nothing")
@click.option("--list", is_flag=True, help="list the experiments, their pages, what is unfinished")
@click.option("--resume", is_flag=True, help="go on with all runs that were begun and not ended")
@click.option("--no-wait", is_flag=True, help="fail if another process is making the same page")
@click.option("--stamp", metavar="FILE", help="write there what was made, for a workflow engine")
def run(
    experiment: str | None,
    dataset: str,
    force: bool,
    no_wait: bool,
    stamp: str | None,
    publish: bool,
    **more: Any,
) -> int:
    """Run one experiment notebook on one dataset and make its page.

    The book's page of this very run is made again in its place; any other goes to runs/pages/, unless --publish is
    said, or the run has all its defaults and the book has no page of it yet.
    """
    if more.pop("list"):
        print(listing())
        return 0
    if more.pop("resume"):
        if experiment is not None:
            raise ValueError(f"run --resume goes on with all unfinished runs: leave {experiment} out.")
        if not (todo := runner.unfinished()):
            print("Nothing is unfinished.")
        return max((_run(*one[:3], force, no_wait, one[3]) for one in todo), default=0)
    if experiment is None:
        raise ValueError("run needs an experiment; `ferlab run --list` names them.")
    dry_run, asked = more.pop("dry_run"), parameters(**more)
    if dry_run:
        print(intent(experiment, dataset, asked, force, publish))
        return 0
    code = _run(experiment, dataset, asked, force, no_wait, publish)
    if stamp and not code:
        runner.stamp(stamp, experiment, dataset, asked)
    return code


def _run(
    experiment: str, dataset: str, asked: dict[str, Any], force: bool, no_wait: bool, publish: bool = False
) -> int:
    try:
        page, ran = runner.run(experiment, dataset, asked, force, not no_wait, publish)
    except (FercoreError, ValueError) as error:  # which does not keep other runs from being tried
        return _failed(error)
    print(f"{experiment} on {dataset}: {'wrote' if ran else 'fresh, not run again:'} {records.place(page)}")
    return 0


def parameters(pairs: Sequence[str], **short: str | None) -> dict[str, Any]:
    """Read ``-p`` and its short forms."""
    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise ValueError(f"-p {wrong[0]}: write NAME=VALUE, e.g. -p width=0.25.")
    long = dict(pair.split("=", 1) for pair in pairs)
    if "dataset" in long:
        raise ValueError("-p dataset=…: use --dataset.")
    given = {name: value for name, value in short.items() if value is not None}
    if twice := sorted(set(given) & set(long)):
        raise ValueError(f"{twice[0]} is given twice, as --{twice[0]} and as -p {twice[0]}=….")
    return {name: sources.value_of(value) for name, value in (long | given).items()}


def intent(
    experiment: str, dataset: str, asked: dict[str, Any], force: bool = False, publish: bool = False
) -> str:
    """Say what a run would do, without doing anything."""
    given = runner.check(experiment, dataset, asked)
    page = runner.page_path(experiment, dataset, given, publish)
    reasons, seconds = runner.why_stale(page, given), runner.about(page).get("seconds")
    reasons = reasons or (["--force"] if force else [])
    try:
        there = dataset == "faces" or records.data_at_hand(dataset)
        data = (
            "is there"
            if there
            else f"not in {datasets.data_root()}; `ferlab data status` says where to get it"
        )
    except (FercoreError, ValueError, OSError) as error:
        data = f"cannot be read: {error}"
    known = runner.parameters_of(runner.source(experiment)) | given
    state = f"would be made ({freshness.few(reasons)})" if reasons else "is fresh: nothing would be run"
    lines = [
        sources.run_line(experiment, dataset, asked),
        f"page   {records.place(page)} {state}",
        f"time   {'has not been run here' if seconds is None else f'took {seconds:.0f} s last time'}",
        f"data   {data}",
        f"with   {', '.join(f'{name}={sources.text(value)}' for name, value in known.items())}",
    ]
    return "\n  ".join(lines)


def listing() -> str:
    """List the experiments with their titles, the pages of each with their state, and what is unfinished."""
    facts = {page: runner.about(page) for own in (False, True) for page in runner.pages(own)}
    lines: list[str] = []
    for experiment in runner.experiments():
        lines.append(f"{experiment}: {sources.heading(runner.source(experiment))}")
        for page, about in facts.items():
            if about.get("experiment") == experiment:
                state = "fresh" if runner.is_fresh(page, about["asked"]) else "stale"
                where = "" if page.is_relative_to(provenance.project_root() / "book") else "runs/pages/"
                lines.append(
                    f"    {where}{page.parent.name}/{page.stem}: {state}, took {about['seconds']:.0f} s"
                )
    return "\n".join([*lines, *(f"unfinished: {sources.run_line(*run[:3])}" for run in runner.unfinished())])


@ferlab.command()
def status() -> int:
    """List the records of all runs and whether they are fresh."""
    runner.experiments()  # an error outside a checkout
    paths, stale = records.paths(), {run.record: run for run in freshness.stale_runs()}
    for path in paths:
        found = stale.get(path)
        print(f"{records.place(path)}: {'STALE: ' + freshness.few(found.reasons) if found else _fresh(path)}")
        if found and found.command:
            print(f"    run again: {found.command}")
    if not paths:
        print("No records yet: run `make book`.")
    return int(bool(stale))


def _fresh(path: Path) -> str:
    dataset = path.parent.name
    there = dataset not in datasets.DATASETS or dataset == "faces" or records.data_at_hand(dataset)
    return "fresh" if there else "fresh, by its code; its data are not at hand"


@ferlab.command()
@click.option("--committed", is_flag=True, help="only runs that are under version control")
@click.option("--run", "renew", is_flag=True, help="renew them, quickest first")
@click.option("--minutes", type=float, default=float("inf"), help="with --run: leave out what took longer")
def refresh(committed: bool, renew: bool, minutes: float) -> int:
    """Say which runs are stale and what it takes to renew them."""
    runner.experiments()  # an error outside a checkout
    runs = freshness.stale_runs(freshness.committed(records.paths()) if committed else None)
    if not renew:
        print(freshness.text(runs))
        return int(bool(runs))
    made, failures = freshness.renew(runs, 60 * minutes)
    print(f"{made} of {len(runs)} stale runs made again.")
    for failure in failures:
        _failed(failure)
    return int(made < len(runs))


@ferlab.command()
@click.argument("folder")
def course(folder: str) -> None:
    """Write the course's student and instructor notebooks, and an archive of each, into FOLDER."""
    print(f"wrote {len(handouts.write(folder))} files to {folder}")


@ferlab.command()
def pair() -> None:
    """Write notebooks/*.ipynb anew from the reviewed notebooks/*.py."""
    changed = runner.pair()
    print(f"wrote {', '.join(changed)}" if changed else "all notebooks are in step")


@ferlab.group()
def data() -> None:
    """List the datasets, and add one from its archive."""


_root = click.option("--root", help="the data folder; else FERCORE_DATA, else data/ in the project")


@data.command()
@click.argument("archive")
@click.option("--no-verify", is_flag=True, help="do not compare it with the official counts")
@_root
def add(archive: str, no_verify: bool, root: str | None) -> int:
    """Unpack an official ARCHIVE, check it, and put it where the loaders look.

    It is a zip, tar or tar.gz as its owner gives it, or a CSV file of FER2013 or FER+.
    """
    try:
        print(catalogue.added_text(adding.add(archive, root, verify=not no_verify)))
    except KeyboardInterrupt:
        print("ferlab: interrupted; nothing has changed.", file=sys.stderr)
        return 130
    return 0


@data.command("status")
@_root
def data_status(root: str | None) -> int:
    """Say which datasets are here, and where to get the others."""
    text, damaged = catalogue.status(root, progress=sys.stderr.isatty())
    print(text)
    return int(damaged)
