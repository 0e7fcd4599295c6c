"""Command line: ``python -m fercore`` with ``run``, ``status``, ``pair``, ``data add`` or ``data status``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from fercore import provenance, results, runner
from fercore.datasets import DATASETS
from fercore.errors import FercoreError


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
        print(f"fercore: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fercore", description="Rerun the book's experiments.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run", help="run one experiment notebook on one dataset and put its page into the book"
    )
    run.add_argument("experiment", help=f"one of: {', '.join(runner.experiments())}")
    run.add_argument("--dataset", default="faces", help=f"one of: {', '.join(DATASETS)} (default: faces)")
    run.add_argument(
        "-p", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the notebook"
    )
    run.add_argument("--force", action="store_true", help="run even if the page is fresh")
    run.set_defaults(command=_run)
    status = commands.add_parser("status", help="list the records of all runs and whether they are fresh")
    status.set_defaults(command=_status)
    pair = commands.add_parser("pair", help="write notebooks/*.ipynb anew from the reviewed notebooks/*.py")
    pair.set_defaults(command=_pair)
    _add_data_commands(commands.add_parser("data", help="list the datasets, and add one from its archive"))
    return parser


def _add_data_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add = commands.add_parser(
        "add", help="unpack an official archive, check it, and put it where the loaders look"
    )
    add.add_argument(
        "archive", help="zip, tar or tar.gz as its owner gives it, or a CSV file of FER2013 or FER+"
    )
    add.add_argument("--replace", action="store_true", help="put it in the place of what is there already")
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
    except ValueError:
        return text


def _run(options: argparse.Namespace) -> int:
    if wrong := [pair for pair in options.p if "=" not in pair]:
        raise ValueError(f"-p {wrong[0]}: write NAME=VALUE, e.g. -p width=0.25.")
    if any(pair.startswith("dataset=") for pair in options.p):
        raise ValueError("-p dataset=…: use --dataset.")
    parameters = {name: _value(value) for name, value in (pair.split("=", 1) for pair in options.p)}
    page, ran = runner.run(options.experiment, options.dataset, parameters, options.force)
    place = page.relative_to(provenance.project_root())
    print(f"{options.experiment} on {options.dataset}: {'wrote' if ran else 'fresh, not run again:'} {place}")
    return 0


def _status(options: argparse.Namespace) -> int:
    paths = results.paths()
    worst = 0
    for path in paths:
        try:
            record = results.read(path)
        except FercoreError as error:
            print(f"DAMAGED: {error}")
            worst = 1
            continue
        reasons = results.stale(record)
        worst = max(worst, int(bool(reasons)))
        print(f"{results.place(path)}: {'fresh' if not reasons else 'STALE: ' + '; '.join(reasons)}")
        if reasons and (page := runner.page_of(path)):
            print(f"    run again: {runner.command(page)}")
    if not paths:
        print("No records yet: run `make book`.")
    return worst


def _pair(options: argparse.Namespace) -> int:
    changed = runner.pair()
    print(f"wrote {', '.join(changed)}" if changed else "all notebooks are in step")
    return 0


def _data_add(options: argparse.Namespace) -> int:
    from fercore.datasets import adding, catalogue

    try:
        added = adding.add(options.archive, options.root, options.replace, not options.no_verify)
    except KeyboardInterrupt:
        print("fercore: interrupted; nothing has changed.", file=sys.stderr)
        return 130
    print(catalogue.added_text(added))
    return 0


def _data_status(options: argparse.Namespace) -> int:
    from fercore.datasets import catalogue

    text, damaged = catalogue.status(options.root, progress=sys.stderr.isatty())
    print(text)
    return int(damaged)


if __name__ == "__main__":
    sys.exit(main())
