"""Regions of a face switched on and off, with what the network says of each combination: stored, not computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fercore.emotions import COLORS, EMOTIONS, NAMES
from ferlab.interactive.embedding import drawing, embed, picture, pixels, shown, tag, text

_DIGITS = 4
_BARS = [COLORS[emotion] for emotion in EMOTIONS]
_SIDE = 200  # of the face in the static drawing, in its units


def switch_face(
    name: str, image: np.ndarray, masks: Mapping[str, np.ndarray], outputs: np.ndarray
) -> dict[str, Any]:
    """Prepare a face (H, W, 1 or 3) and its k regions, by name, disjoint bool (H, W), for :func:`region_switches`.

    ``outputs`` (2**k, 7) are the probabilities for each coalition: bit i of the row says whether region i is shown.
    """
    paths = [outline(mask) for mask in masks.values()]
    return {"name": name, "image": image, "regions": list(masks), "paths": paths, "outputs": outputs}


def region_switches(faces: Sequence[Mapping[str, Any]]) -> str:
    """Return the figure that shows and hides regions of faces, from :func:`switch_face`, with the probabilities."""
    listed = []
    for entry in faces:
        high, wide = entry["image"].shape[:2]
        ready = {"image": picture(entry["image"]), "outputs": entry["outputs"].round(_DIGITS)}
        listed.append({**entry, **ready, "width": wide, "height": high})
    data = {"faces": listed, "classes": NAMES, "colors": _BARS}
    note = "With JavaScript, you can hide and show regions here, and read what the network makes of it."
    return embed("switches", data, _static(faces[0]), note)


def outline(mask: np.ndarray) -> str:
    """Return the pixels of a bool mask (H, W) as an SVG path of rectangles, exact to the pixel."""
    done, growing = [], {}  # growing: {(first column, end): first row} of rectangles that may go on
    for row, line in enumerate(np.pad(mask.astype(np.int8), ((0, 1), (1, 1)))):
        runs = {(int(start), int(end)) for start, end in np.flatnonzero(np.diff(line)).reshape(-1, 2)}
        for start, end in sorted(growing.keys() - runs):
            top = growing.pop((start, end))
            done.append(f"M{start} {top}h{end - start}v{row - top}h{start - end}z")
        growing |= dict.fromkeys(runs - growing.keys(), row)
    return "".join(done)


def _static(entry: Mapping[str, Any]) -> str:
    """Draw the whole face with its probabilities, and what hiding each region alone does to the predicted class."""
    image, regions, outputs = entry["image"], entry["regions"], entry["outputs"]
    parts = [pixels(image, 0, 0, _SIDE)]
    tint = {"transform": f"scale({_SIDE / image.shape[1]:g})", "fill": "#56b4e9", "fill_opacity": 0.25}
    parts.append(tag("path", d="".join(entry["paths"]), **tint))
    for place, (label, color, value) in enumerate(zip(NAMES, _BARS, outputs[-1], strict=True)):
        y, wide = 24 * place, 150 * value
        parts.append(text(label, _SIDE + 90, y + 17, text_anchor="end"))
        parts.append(tag("rect", x=_SIDE + 98, y=y + 3, width=f"{wide:.1f}", height=18, fill=color))
        parts.append(text(f"{value:.2f}", _SIDE + 104 + wide, y + 17))
    best = int(outputs[-1].argmax())
    base = max(_SIDE * image.shape[0] / image.shape[1], 24 * len(NAMES)) + 26
    parts.append(text(f"Probability of {NAMES[best]} with one region hidden:", 0, base))
    for place, region in enumerate(regions):
        hidden = outputs[len(outputs) - 1 - (1 << place), best]
        parts.append(text(f"{region}: {shown(hidden)}", 240 * (place % 2), base + 22 * (place // 2 + 1)))
    title = f"{entry['name']} with regions {', '.join(regions)}; predicted {NAMES[best]}."
    return drawing(title, 500, base + 22 * ((len(regions) + 1) // 2) + 10, *parts)
