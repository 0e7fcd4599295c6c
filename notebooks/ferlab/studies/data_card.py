"""The numbers of a data card: what is in a dataset, and what is wrong with it, counted from its images."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fercore import datasets
from fercore.datasets import fer2013
from fercore.datasets.base import FaceDataset
from fercore.datasets.splits import identical
from fercore.emotions import EMOTIONS, Emotion
from fercore.errors import DatasetError
from ferlab.studies import paper

EVERYTHING = "all"
SHOWN = ("faces", "fer2013")  # sets whose images the book may show


def facts(dataset: FaceDataset) -> pd.DataFrame:
    """Say what a dataset is and where it comes from: one column of text."""
    height, width, channels = dataset.images.shape[1:]
    source, terms = "rendered by this package", "MIT, as the package; nobody is shown"
    if dataset.name != "faces":
        about = datasets.about(dataset.name)
        source, terms = about.source, about.terms
    published = paper.table_1("proposed").get(dataset.name)
    kind = "grey" if channels == 1 else "colour"
    rows = {
        "images": f"{len(dataset):,} of {height} x {width} pixels, {kind}",
        "read from": dataset.source,
        "where to get it": source,
        "terms": terms,
        "passed over": " ".join(dataset.skipped) or "nothing",
        "checksum": dataset.checksum,
        "paper, Table 1": "none for this set" if published is None else f"{published:.2%}",
    }
    return pd.Series(rows, name=dataset.title).to_frame()


def part_names(dataset: FaceDataset) -> np.ndarray:
    """Return the part of each image: (N,) str, the dataset's own split, or ``"all"`` where it has none."""
    return np.full(len(dataset), EVERYTHING) if dataset.usage is None else dataset.usage


def parts_of(dataset: FaceDataset) -> list[str]:
    """Return the names of the parts in the order in which they first appear."""
    return list(dict.fromkeys(part_names(dataset).tolist()))


def counts(dataset: FaceDataset) -> pd.DataFrame:
    """Count images: a row per emotion (contempt only where it occurs), a column per part, and one of all parts."""
    emotions = [emotion for emotion in Emotion if emotion in EMOTIONS or emotion in dataset.emotions]
    table = pd.crosstab(dataset.labels, part_names(dataset))
    table = table.reindex(index=emotions, columns=parts_of(dataset), fill_value=0)
    table = pd.DataFrame(table.to_numpy(), [emotion.title for emotion in emotions], list(table))
    return table if EVERYTHING in table else table.assign(**{EVERYTHING: table.sum(axis=1)})


def majority(table: pd.DataFrame) -> pd.DataFrame:
    """Say what a classifier reaches that always names the most frequent emotion: a row per column of :func:`counts`.

    ``ratio`` is how many times more frequent that is than the ``rarest`` that occurs.
    """
    present = table.where(table > 0)
    most, least = present.max(), present.min()
    columns = {"emotion": present.idxmax(), "accuracy": most / present.sum()}
    return pd.DataFrame(columns | {"rarest": present.idxmin(), "ratio": most / least})


@dataclass(frozen=True)
class Copies:
    """How many images of a dataset are exact copies of others."""

    images: int
    distinct: int
    surplus: int  # images that could go without a picture being lost
    groups: int  # pictures that occur more than once
    largest: int  # occurrences of the most frequent picture
    conflicting: int  # pictures that occur with different labels
    conflicting_images: int  # images that show such a picture


def copies(dataset: FaceDataset) -> Copies:
    """Count exact copies, and those among them whose labels contradict one another."""
    found = pd.Series(dataset.labels).groupby(identical(dataset.images)).agg(["size", "nunique"])
    sizes, conflicting = found["size"], found["nunique"] > 1
    counted = len(dataset), len(sizes), len(dataset) - len(sizes), (sizes > 1).sum(), sizes.max()
    return Copies(*map(int, (*counted, conflicting.sum(), sizes[conflicting].sum())))


def conflicts(dataset: FaceDataset) -> pd.DataFrame:
    """Count the ``pictures`` by the labels that identical images carry (``"Angry, Sad"``), most frequent first."""
    labels = pd.Series(dataset.labels).groupby(identical(dataset.images)).unique()
    named = [", ".join(Emotion(label).title for label in sorted(some)) for some in labels if len(some) > 1]
    return pd.Series(named, dtype=object).value_counts().rename_axis("labels").to_frame("pictures")


def copies_across(dataset: FaceDataset) -> pd.DataFrame:
    """Count the images of one part that are also in another, pixel for pixel: one row per ordered pair of parts.

    ``share`` is of the first part's images (0..1), and ``same label`` counts those with the label of a copy there.
    """
    classes, names = identical(dataset.images), part_names(dataset)
    labelled = classes * len(Emotion) + dataset.labels
    rows = []
    for one, other in itertools.permutations(parts_of(dataset), 2):
        shared, agreeing = (np.isin(of[names == one], of[names == other]) for of in (classes, labelled))
        rows.append((one, other, shared.sum(), shared.mean(), agreeing.sum()))
    return pd.DataFrame(rows, columns=["part", "also in", "images", "share", "same label"])


def by_pair(across: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return the rows of :func:`copies_across` by ``"<part>_in_<other part>"``, for a record."""
    rows = across.rename(columns={"same label": "same_label"}).to_dict(orient="records")
    return {f"{row.pop('part')}_in_{row.pop('also in')}": row for row in rows}


def blank(dataset: FaceDataset) -> np.ndarray:
    """Find images that consist of one value in each channel: (N,) bool."""
    return np.array([(image == image[:1, :1]).all() for image in dataset.images], dtype=bool)


def blanks(dataset: FaceDataset) -> pd.Series:
    """Count blank images by part: int64, one entry per part."""
    found = pd.Series(blank(dataset), name="blank images")
    return found.groupby(part_names(dataset)).sum()[parts_of(dataset)]


def people(dataset: FaceDataset) -> pd.DataFrame:
    """Count images: a row per subject in sorted order, a column per emotion that occurs, and ``"all"``."""
    if dataset.subjects is None:
        raise DatasetError(f"{dataset.title} names no subjects: images cannot be counted by subject.")
    table = pd.crosstab(dataset.subjects, dataset.labels)
    table.columns = [Emotion(label).title for label in table.columns]
    return table.assign(**{EVERYTHING: table.sum(axis=1)}).rename_axis("subject")


def votes_of(dataset: FaceDataset) -> np.ndarray:
    """Return the votes of FER+ on a dataset: (N, 10), see :func:`fercore.datasets.fer2013.read_votes`."""
    if "votes" not in dataset.extras:
        raise DatasetError(
            f"{dataset.title} has no votes of FER+. {fer2013.VOTES_SOURCE} and put it beside FER2013."
        )
    return dataset.extras["votes"]


def verdicts(dataset: FaceDataset) -> pd.Series:
    """Say what the votes of FER+ come to: counts, which add up to N; ``tied`` is where several lead."""
    votes = votes_of(dataset)
    tied = (votes == votes.max(axis=1, keepdims=True)).sum(axis=1) > 1
    special = {fer2013.VOTED.index(Emotion.CONTEMPT): "contempt"}
    special |= {fer2013.UNKNOWN_VOTE: "unknown", fer2013.NO_FACE_VOTE: "no face"}
    said = pd.Series(votes.argmax(axis=1)).map(special).fillna("basic emotion").mask(tied, "tied")
    names = ["basic emotion", *special.values(), "tied"]
    return said.value_counts().reindex(names, fill_value=0).rename("images").rename_axis(None)


def agreement(dataset: FaceDataset, part: str | None = None, ties: bool = False) -> pd.DataFrame:
    """Compare labels with the plurality of FER+ where it is one of the seven: a row per label, and one of all."""
    votes = votes_of(dataset)
    votes = np.eye(votes.shape[1], dtype=np.uint8)[votes.argmax(axis=1)] if ties else votes
    voted = fer2013.plurality(votes)
    chosen = np.isin(voted, EMOTIONS) & ((part is None) | (part_names(dataset) == part))
    every = pd.DataFrame({"given": dataset.labels, "said": voted})[chosen]
    parts = {Emotion(label).title: some for label, some in every.groupby("given")} | {EVERYTHING: every}
    rows = {
        name: (len(some), (some.said == some.given).mean(), Emotion(some.said.mode()[0]).title)
        for name, some in parts.items()
        if len(some)
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["images", "agree", "plurality says"])
