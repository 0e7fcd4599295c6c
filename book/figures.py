"""Draw the book's committed figures again: contact sheet of the embedded faces, picture of the README, official counts.

Run by ``make figures`` after ``make book`` (it explains the network that the accuracy page has trained).
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ferlab import faces, networks
from ferlab.figures import panels

from fercore import datasets, models
from fercore.checkpoints import atomic_path
from fercore.datasets import splits
from fercore.emotions import COLORS, EMOTIONS, NAMES
from fercore.shapley import DnCShap
from fercore.training import evaluation

STATIC = Path(__file__).resolve().parent / "_static"
CHARACTERS, SIZE = 6, 144


def save(figure: plt.Figure, name: str, dpi: int) -> None:
    """Write a figure to ``book/_static``, without a date, so that an unchanged figure is an unchanged file."""
    with atomic_path(STATIC / name) as path:
        figure.savefig(path, dpi=dpi, metadata={"Software": None}, pil_kwargs={"optimize": True})
    print(f"wrote {STATIC / name}")


def official_counts(name: str) -> plt.Figure:
    """Bars of the images per emotion in the official release of a dataset."""
    about = datasets.about(name)
    totals = [sum(part.get(emotion, 0) for part in about.counts.values()) for emotion in EMOTIONS]
    figure, axes = plt.subplots(figsize=(6.4, 2.6), layout="constrained")
    bars = axes.bar(NAMES, totals, color=[COLORS[emotion] for emotion in EMOTIONS])
    axes.bar_label(bars, [f"{total:,}" for total in totals], fontsize=8)
    axes.set_ylabel("images")
    axes.margins(y=0.12)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def contact_sheet() -> plt.Figure:
    """Characters in rows, emotions in columns, the names of the emotions above."""
    sheet = faces.contact_sheet(characters=CHARACTERS, size=SIZE, seed=0)
    width = 7.2
    figure, axes = plt.subplots(figsize=(width, width * sheet.shape[0] / sheet.shape[1] + 0.25))
    axes.imshow(sheet)
    step = sheet.shape[1] / len(EMOTIONS)
    axes.set_xticks([(n + 0.5) * step for n in range(len(EMOTIONS))], NAMES, fontsize=9)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_yticks([])
    for tick, emotion in zip(axes.get_xticklabels(), EMOTIONS, strict=True):
        tick.set_color(COLORS[emotion])
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=sheet.shape[0] / (sheet.shape[0] + 0.3 * step))
    return figure


def example_maps() -> plt.Figure:
    """Six faces of unseen characters and their DnCShap maps under the network of the accuracy page."""
    data = datasets.load("faces")
    parts = splits.split(data)
    setting = networks.setting("faces", width=0.25, epochs=20)
    network = networks.trained(setting, data, parts, "cpu").model
    test = data.subset(parts.test)
    hits = evaluation.predict(network, test.images).argmax(dim=1).numpy() == test.labels
    people = np.unique(test.subjects)
    shown = [
        np.flatnonzero(hits & (test.labels == emotion) & (test.subjects == people[n % len(people)]))[0]
        for n, emotion in enumerate(EMOTIONS[:-1])
    ]
    result = DnCShap(network, contexts="exact", depth=6).attribute(models.to_input(test.images[shown]))
    figure, grid = plt.subplots(2, len(shown), figsize=(1.5 * len(shown), 3.3), layout="constrained")
    for column, index, values in zip(grid.T, shown, result.pixel_map()[..., 0].sum(axis=-1), strict=True):
        panels.show_face(column[0], test.images[index])
        panels.show_map(column[1], test.images[index], values)
        emotion = EMOTIONS[test.labels[index]]
        column[0].set_title(emotion.title, fontsize=10, color=COLORS[emotion])
    for axes in grid.flat:
        axes.set_axis_off()
    return figure


if __name__ == "__main__":
    for name in ("ferg", "jaffe", "ckplus"):
        save(official_counts(name), f"counts-{name}.png", dpi=130)
    save(contact_sheet(), "faces-contact-sheet.png", dpi=120)
    save(example_maps(), "dncshap-example.png", dpi=130)
