"""The paper's width in one command, within a budget of seconds; what is cut off goes on in the next lease.

    python workflow/full_scale run --data FOLDER --out FOLDER --budget 760  # on the machine with the GPU
    python workflow/full_scale collect FOLDER     # at home: put the results in their places
    python workflow/full_scale status             # what is done, what is left
    python workflow/full_scale sheets FOLDER      # FER2013 as small files that can be carried

The machine needs this folder, Python 3.11 or newer, torch, torchvision, scikit-learn and safetensors; no network.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

STARTED = time.monotonic()  # imports count
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "notebooks"), str(Path(__file__).parent)]

import lease as leases  # noqa: E402
import parcel  # noqa: E402
import sheets  # noqa: E402
import steps as all_of  # noqa: E402
import torch  # noqa: E402

from fercore import load  # noqa: E402
from fercore.datasets import data_root  # noqa: E402
from fercore.datasets.base import FaceDataset  # noqa: E402
from fercore.errors import FercoreError  # noqa: E402

LEAST = 60  # seconds of a budget
STOPPED = "stopped; the same command goes on from here"


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the arguments."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="do what is not done, as long as there is time")
    status = commands.add_parser("status", help="say what is done and what is left")
    for one in (run, status):
        one.add_argument("--data", type=Path, help="folder with the sheets, or with fer2013/fer2013.csv")
        one.add_argument("--width", type=float, default=1.0, help="of all channels, 1 in the paper")
        one.add_argument("--limit", type=int, default=0, help="try it on so many images of each part")
        one.add_argument("--root", type=Path, default=ROOT, help="project folder (default: this one)")
    run.add_argument("--out", type=Path, required=True, help="where to put what is to be brought home")
    run.add_argument("--budget", type=float, required=True, help=f"seconds of wall clock, at least {LEAST}")
    run.add_argument("--device", default="cuda", help="cuda (default); cpu for trying it out")
    run.add_argument("--memory", type=float, default=20.0, help="GiB of GPU memory that must be free")
    run.add_argument("--images", type=int, default=100, help="faces of the comparison of explainers")
    collect = commands.add_parser("collect", help="put what was brought home in its places")
    collect.add_argument("folder", type=Path)
    collect.add_argument("--root", type=Path, default=ROOT)
    carry = commands.add_parser("sheets", help="write FER2013 as PNG sheets")
    carry.add_argument("folder", type=Path)
    carry.add_argument("--data", type=Path)
    return parser.parse_args(given)


def check_machine(args: argparse.Namespace) -> torch.device:
    """Return the device, or say what is missing."""
    if not args.budget >= LEAST:
        raise FercoreError(f"--budget {args.budget:g}: nothing is finished in under {LEAST} s; give more.")
    if not 0 < args.width <= 4:
        raise FercoreError(f"--width {args.width:g} must lie in (0, 4].")
    if args.device.partition(":")[0] not in ("cuda", "cpu"):
        raise FercoreError(f"--device {args.device}: cuda, cuda:0 or cpu.")
    device = torch.device(args.device)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise FercoreError("torch finds no GPU here; --device cpu --width 0.0625 tries it out.")
        free = torch.cuda.mem_get_info(device)[0] / 2**30
        if free < args.memory:
            raise FercoreError(f"The GPU has {free:.1f} GiB free, less than --memory {args.memory:g}.")
    return device


def read(args: argparse.Namespace) -> FaceDataset:
    """Read the images, or the first of each part if there is a limit."""
    data = sheets.read(args.data or data_root())
    return sheets.first(data, args.limit) if args.limit else data


def stop(*_: object) -> None:
    """End at once: every file is whole at any moment, and an exception would be lost inside a destructor."""
    os.write(2, f"{STOPPED}\n".encode())
    os._exit(1)


def run(args: argparse.Namespace) -> None:
    """Do what is not done."""
    device = check_machine(args)
    lease = leases.Lease(args.root, read(args), device, args.width, args.budget, args.images, STARTED)
    args.out.mkdir(parents=True, exist_ok=True)  # before any work: it may be no folder
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(1.0, lease.left()))  # the budget is the caller's limit, too
    steps = all_of.all_steps()

    def keep() -> None:
        wide = lease.read("wide-0")
        parcel.pack(args.root, args.out, wide["found"]["name"] if wide else "")

    leases.work(lease, steps, keep)
    keep()
    print(leases.table(lease, steps), flush=True)


def main(given: Sequence[str] | None = None) -> None:
    """Do as the command line says."""
    args = parse(given)
    try:
        if args.command == "run":
            run(args)
        elif args.command == "status":
            lease = leases.Lease(args.root, read(args), torch.device("cpu"), args.width, 0.0)
            print(leases.table(lease, all_of.all_steps()))
        elif args.command == "collect":
            print("\n".join(parcel.collect(args.folder, args.root)))
        else:
            sheets.write(load("fer2013", root=args.data, progress=False), args.folder)
            print(f"wrote {args.folder}")
    except (FercoreError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(STOPPED)


if __name__ == "__main__":
    main()
