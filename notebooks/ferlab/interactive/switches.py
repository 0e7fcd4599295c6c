"""Regions of a face switched on and off, with what the network says of each combination: stored, not computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fercore.emotions import COLORS, EMOTIONS, NAMES
from ferlab.interactive.embedding import distinct, drawing, embed, face, finite, picture, shown, tag, text

MOST = 8  # regions, 256 coalitions
_DIGITS = 4
_BARS = [COLORS[emotion] for emotion in EMOTIONS]
_SIDE = 200  # of the face in the static drawing, in its units


def switch_face(
    name: str, image: np.ndarray, masks: Mapping[str, np.ndarray], outputs: np.ndarray
) -> dict[str, Any]:
    """Prepare a face for :func:`region_switches`.

    Args:
        name: Of the face, as the reader chooses it.
        image: uint8 (H, W), (H, W, 1) or (H, W, 3). Pixels outside all regions are always shown: what the network saw
            there in all coalitions must be in the image.
        masks: bool (H, W) by the region's name, 1 to 8 of them, disjoint and not empty.
        outputs: Probabilities, float (2**k, 7): of each coalition of the k regions, the seven emotions in the order of
            :data:`fercore.emotions.EMOTIONS`. Bit i of the row says whether region i is shown, the others being black.

    Returns:
        What :func:`region_switches` reads.

    Raises:
        ValueError: If something has another shape or kind, masks overlap, or rows are no probabilities.
    """
    image = face(image, name)
    regions = distinct(list(masks), f"The regions of {name!r}")
    if len(regions) > MOST:
        raise ValueError(f"{name!r} has {len(regions)} regions; {MOST} are the most that can be switched.")
    stack = _masks(name, masks, image.shape[:2])
    rows = finite(outputs, f"The outputs of {name!r}")
    if rows.shape != (2 ** len(regions), len(EMOTIONS)):
        raise ValueError(
            f"The outputs of {name!r} must have shape ({2 ** len(regions)}, {len(EMOTIONS)}): one row for each "
            f"coalition of {len(regions)} regions, one column for each emotion; they have shape {rows.shape}."
        )
    if rows.min() < 0 or np.abs(rows.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError(
            f"The outputs of {name!r} must be probabilities, 0 or more with a sum of 1 in each row (a softmax)."
        )
    paths = [outline(mask) for mask in stack]
    return {"name": str(name), "image": image, "regions": regions, "paths": paths, "outputs": rows}


def region_switches(faces: Sequence[Mapping[str, Any]]) -> str:
    """Return the figure that shows and hides regions of a face, with the network's probabilities.

    Args:
        faces: From :func:`switch_face`, with names of their own; their regions may differ.

    Returns:
        HTML, see :func:`ferlab.interactive.embed`.

    Raises:
        ValueError: If there is no face, or two have the same name.
    """
    distinct([entry["name"] for entry in faces], "The faces")
    listed = []
    for entry in faces:
        high, wide = entry["image"].shape[:2]
        ready = {"image": picture(entry["image"]), "outputs": entry["outputs"].round(_DIGITS)}
        listed.append({**entry, **ready, "width": wide, "height": high})
    data = {"faces": listed, "classes": NAMES, "colors": _BARS}
    said = "With JavaScript, you can hide and show regions here, and read what the network makes of it."
    return embed("switches", data, _static(faces[0]), said)


def outline(mask: np.ndarray) -> str:
    """Return the pixels of a bool mask (H, W) as an SVG path of rectangles, exact to the pixel."""
    done, growing = [], {}  # growing: {(first column, end): first row} of rectangles that may go on
    for row in range(len(mask) + 1):
        line = mask[row] if row < len(mask) else np.zeros(mask.shape[1], dtype=bool)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(np.int8), [0]]))).reshape(-1, 2)
        runs = {(int(start), int(end)) for start, end in edges}
        for start, end in sorted(growing.keys() - runs):
            top = growing.pop((start, end))
            done.append(f"M{start} {top}h{end - start}v{row - top}h{start - end}z")
        growing |= dict.fromkeys(runs - growing.keys(), row)
    return "".join(done)


def _masks(name: str, masks: Mapping[str, np.ndarray], size: tuple[int, ...]) -> np.ndarray:
    """Return the masks as one bool array (k, H, W)."""
    for region, mask in masks.items():
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.shape != size or not mask.any():
            raise ValueError(
                f"The mask {region!r} of {name!r} must be bool of shape {size}, with a pixel in it; it is {mask.dtype} "
                f"of shape {mask.shape} with {np.count_nonzero(mask)} pixels."
            )
    stack = np.stack([np.asarray(mask) for mask in masks.values()])
    twice = int((stack.sum(axis=0) > 1).sum())
    if twice:
        raise ValueError(f"The masks of {name!r} overlap: {twice} pixels are in more than one of them.")
    return stack


def _static(entry: Mapping[str, Any]) -> str:
    """Draw the whole face with its probabilities, and what hiding each region alone does to the predicted class."""
    high = _SIDE * entry["image"].shape[0] / entry["image"].shape[1]
    where = {"x": 0, "y": 0, "width": _SIDE, "height": f"{high:g}"}
    parts = [tag("image", href=picture(entry["image"]), style="image-rendering:pixelated", **where)]
    parts.append(
        tag(
            "path",
            d="".join(entry["paths"]),
            transform=f"scale({_SIDE / entry['image'].shape[1]:g})",
            fill="#56b4e9",
            fill_opacity=0.25,
        )
    )
    everything = entry["outputs"][-1]
    for place, (label, color) in enumerate(zip(NAMES, _BARS, strict=True)):
        y = 24 * place
        parts.append(text(label, _SIDE + 90, y + 17, text_anchor="end"))
        parts.append(
            tag("rect", x=_SIDE + 98, y=y + 3, width=f"{150 * everything[place]:.1f}", height=18, fill=color)
        )
        parts.append(text(f"{everything[place]:.2f}", _SIDE + 104 + 150 * everything[place], y + 17))
    best = int(everything.argmax())
    base = max(high, 24 * len(NAMES)) + 26
    parts.append(text(f"Probability of {NAMES[best]} with one region hidden:", 0, base))
    for place, region in enumerate(entry["regions"]):
        hidden = entry["outputs"][len(entry["outputs"]) - 1 - (1 << place), best]
        parts.append(text(f"{region}: {shown(hidden)}", 240 * (place % 2), base + 22 * (place // 2 + 1)))
    title = f"{entry['name']} with regions {', '.join(entry['regions'])}; predicted {NAMES[best]}."
    return drawing(title, 500, base + 22 * ((len(entry["regions"]) + 1) // 2) + 10, *parts)
