"""How fast the embedded faces are rendered: images per second on one core.

Run ``python benchmarks/faces.py``; it prints one line per size, with and without masks.
"""

from __future__ import annotations

import argparse
import time

import cv2
from ferlab import faces


def rate(size: int, count: int, masks: bool, rounds: int) -> float:
    """Images per second of processor time for about ``count`` images of ``size`` pixels, best of ``rounds``."""
    variants = max(1, count // 70)
    faces.load(size=size, characters=10, variants=1, masks=masks, progress=False)  # Fills the caches.
    best = 0.0
    for _ in range(rounds):
        start = time.process_time()
        dataset = faces.load(size=size, characters=10, variants=variants, masks=masks, progress=False)
        best = max(best, len(dataset) / (time.process_time() - start))
    return best


def main() -> None:
    """Parse the arguments and print the rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[48, 224], help="picture sizes in pixels")
    parser.add_argument("--count", type=int, default=350, help="about how many pictures to time per size")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the fastest counts")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    for size in arguments.sizes:
        for masks in (False, True):
            speed = rate(size, arguments.count, masks, arguments.rounds)
            print(f"{size:3d} px, {'with' if masks else 'no'} masks: {speed:6.1f} images/s (one core)")


if __name__ == "__main__":
    main()
