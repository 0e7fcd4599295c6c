"""Time DnCShap beside other explainers of image regions, and compare their values with the exact ones.

    make bench                                       # or: python benchmarks/explainers.py
    python benchmarks/explainers.py --full --device cuda
    python benchmarks/explainers.py --only slope --output /tmp/bench
    python benchmarks/explainers.py --cell vgg16,9,1 # one cell of the speed tables again; the others stay

Writes ``explainers.json`` (every number of every round) and ``explainers.md`` (tables) after each section. A ratio is
an explainer's time over that of its floor: as many images through the same network in the best batch size and nothing
else, measured in between (see ``_floor.py``). Only ratios of one run mean anything; seconds drift with the machine.
Without ``--full`` what would take too long is listed as not run, with its number of evaluations; in a cell that is
asked for by name, the methods that a bar is about (default, "absent" and "both") run whatever it takes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import _tables
from _machine import RESULTS, machine
from _rivals import SAMPLED
from _sections import SIZES, Plan, accuracy, memory, memory_child, slope, speed, width
from _tables import Row

from fercore import checkpoints

SECTIONS = ("memory", "slope", "accuracy", "width", "speed")
RIVAL_PACKAGES = ("captum", "lime", "scikit-image")


CELLS = [("proposed", 6, 1), ("proposed", 8, 1), ("small", 8, 1), ("small", 8, 16), ("vgg16", 9, 1)]
CELLS += [("proposed", 8, 16), ("proposed", 9, 1), ("proposed", 10, 1), ("proposed", 6, 16)]
CELLS += [("vgg16", depth, 1) for depth in (6, 8, 10)]
CELLS += [("vgg16", depth, 16) for depth in (6, 8, 9, 10)] + [("proposed", depth, 16) for depth in (9, 10)]


def required(network: str, depth: int, images: int, method: str) -> bool:
    """What the CPU plan always runs: exact values at 256 regions, VGG-16 at 512 regions."""
    if (network, depth, images) == ("proposed", 8, 1):
        return "exact" in method
    return (network, depth, images, method) == ("vgg16", 9, 1, "DnCShap absent")


def make_plan(args: argparse.Namespace) -> Plan:
    """Choose the plan."""
    if args.quick:
        own = {"accuracy": ("small", 3, 1), "memory": ("cheap", 64, 4), "lime_samples": 20}
        own |= {"slopes": (("small", "absent"),), "slope_size": 32, "slope_depths": (2, 4, 6)}
        own |= {"slope_rounds": 1, "required": lambda *cell: "exact" not in cell[3]}
        # No limit leaves out what is not required, on machines of any speed.
        return Plan([("small", 6, 1), ("small", 2, 2)], [("small", 3, 1)], {"small": 0.0}, rounds=1, **own)
    if args.full:
        own = {"accuracy": ("proposed", 8, 16), "memory": ("vgg16", 224, 10), "minutes": float("inf")}
        wide = [("paper", depth, 1) for depth in (6, 8, 9, 10)]
        return Plan(CELLS, wide, dict.fromkeys(SIZES, float("inf")), **own)
    limits = {"proposed": 40.0, "paper": 40.0, "small": 40.0, "vgg16": 60.0}
    return Plan(CELLS, [("paper", 8, 1)], limits, required=required)


def merged(before: Row, about: Row, cells: list[Row]) -> list[Row]:
    """Put cells measured again in the place of the old ones; refuse to mix machines."""
    differ = sorted(name for name in about if name != "date" and before["about"].get(name) != about[name])
    if differ:
        raise SystemExit(f"The table was measured with another {', '.join(differ)}: measure all of it again.")

    key = itemgetter("network", "regions", "images")
    again = {key(cell): cell for cell in cells}
    kept = [again.pop(key(cell), cell) for cell in before["content"]]
    return kept + list(again.values())


def write_section(
    folder: Path, name: str, about: dict[str, Any], content: Any, replace_cells: bool = False
) -> None:
    """Put a section into both files; the other sections, or the other cells, stay as they are."""
    path = folder / "explainers.json"
    whole = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if replace_cells and name in whole:
        content = merged(whole[name], about, content)
    whole[name] = {"about": about, "content": content}
    whole["bars"] = _tables.bars(whole)
    checkpoints.write_json(path, whole)
    with checkpoints.atomic_path(folder / "explainers.md") as temporary:
        temporary.write_text(_tables.document(whole), encoding="utf-8")


def parse(given: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="leave nothing out: hours on a CPU, for a GPU")
    parser.add_argument(
        "--quick", action="store_true", help="tiny networks, few regions: only whether it runs"
    )
    parser.add_argument(
        "--only", action="append", choices=SECTIONS, help="a section (repeatable; default all)"
    )
    parser.add_argument(
        "--cell",
        action="append",
        type=_cell,
        metavar="NETWORK,DEPTH,IMAGES",
        help="a cell of the speed tables (repeatable); nothing else is measured",
    )
    parser.add_argument("--output", type=Path, help="folder of the results (default benchmarks/results)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory-child", help=argparse.SUPPRESS)
    args = parser.parse_args(given)
    if args.quick and args.output is None:
        parser.error("--quick needs --output: its figures mean nothing and must not replace real ones.")
    args.output = args.output or RESULTS
    return args


def _cell(text: str) -> tuple[str, int, int]:
    """Read a cell, e.g. "vgg16,9,1": 2^9 regions, 1 image."""
    network, depth, images = text.split(",")
    if network not in SIZES:
        raise argparse.ArgumentTypeError(f"no network {network!r}; one of {', '.join(SIZES)}")
    return network, int(depth), int(images)


def main(given: Sequence[str] | None = None) -> None:
    """Run the sections."""
    args = parse(given)
    if args.memory_child:
        memory_child(args)
        return
    plan = make_plan(args)
    kind = "full" if args.full else "quick" if args.quick else "default"
    about = machine(args.device, RIVAL_PACKAGES)
    about |= {"plan": kind, "device": args.device, "seed": args.seed, "sampled": SAMPLED}
    run = {"memory": memory, "slope": slope, "accuracy": accuracy, "width": width, "speed": speed}
    chosen = args.only or SECTIONS
    if args.cell:
        planned = plan.required

        def required(*cell: Any) -> bool:
            return cell[3] in _tables.TIMED or planned(*cell)

        plan, chosen = replace(plan, cells=args.cell, required=required), ("speed",)
        path = args.output / "explainers.json"
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if "speed" in before:  # say now, not after measuring, if these cells cannot stand beside the others
            merged(before["speed"], about, [])
    for name in (name for name in SECTIONS if name in chosen):
        run[name](plan, args, partial(write_section, args.output, name, about, replace_cells=bool(args.cell)))
    print(f"Written: {args.output / 'explainers.md'} and .json")


if __name__ == "__main__":
    main()
