"""CK+ (Lucey et al. 2010): 593 posed sequences of 123 people, from the neutral face to the peak of an expression.

The layout is the official one. An emotion file holds one number for a whole sequence; 327 sequences have one::

    cohn-kanade-images/S005/001/S005_001_00000011.png
    Emotion/S005/001/S005_001_00000011_emotion.txt
    Landmarks/S005/001/S005_001_00000011_landmarks.txt    (optional: 68 lines of x and y)

The release gives no still images. The usual choice, and the paper's, is the last three frames of each sequence with an
emotion.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fercore.datasets import ckplus_crop
from fercore.datasets.about import About
from fercore.datasets.base import FaceDataset
from fercore.datasets.ckplus_tree import CODES, EMOTION, IMAGES, Sequence, Tree, check_peaks, scan
from fercore.datasets.reading import check_size
from fercore.datasets.trees import Found, Item, compare, passed_over, read_found, top_folder
from fercore.emotions import Emotion
from fercore.errors import DatasetError

__all__ = ["ABOUT", "Sequence", "load", "sequences"]

TOP = "CK+"
FRAMES = 3
# Labelled sequences per emotion in the release, in the order of its codes.
SEQUENCES = dict(zip(CODES.values(), (45, 18, 59, 25, 69, 28, 83), strict=True))
RELEASE = {
    "sequences": 593,
    "subjects": 123,
    "sequences with an emotion file": 327,
    "subjects with an emotion file": 118,
}
ABOUT = About(
    name="ckplus",
    title="CK+",
    layout=(f"the folders {IMAGES}/ and {EMOTION}/",),
    source="Ask the University of Pittsburgh for it at jeffcohn.net.",
    terms="for research, after signing the agreement, no redistribution; the release names the subjects who may be "
    "shown, and publications cite Lucey et al. 2010.",
    counts={
        "all": {emotion: FRAMES * n for emotion, n in SEQUENCES.items() if emotion is not Emotion.CONTEMPT}
    },
    citation="lucey2010extended",
)


@dataclass(frozen=True)
class _Choice:
    """The options of :func:`load` that decide which images there are; ``crop`` is resolved."""

    contempt: bool
    neutral: bool
    frames: int
    crop: str

    def takes(self, sequence: Sequence) -> bool:
        """Say whether images of a sequence are wanted."""
        wanted = self.contempt or sequence.label is not Emotion.CONTEMPT
        return wanted and sequence.label is not None

    def counts(self) -> dict[Emotion, int]:
        """Images per emotion in the release."""
        chosen = {
            emotion: n for emotion, n in SEQUENCES.items() if self.contempt or emotion is not Emotion.CONTEMPT
        }
        first = {Emotion.NEUTRAL: sum(chosen.values())} if self.neutral else {}
        return {emotion: self.frames * n for emotion, n in chosen.items()} | first


def load(
    root: str | Path,
    size: int = 48,
    verify: bool = True,
    progress: bool = True,
    contempt: bool = False,
    neutral: bool = False,
    frames: int = FRAMES,
    crop: str = "auto",
) -> FaceDataset:
    """Read the peak frames of the labelled sequences of CK+ from ``<root>/ckplus``.

    Args:
        root: The data folder (see :func:`fercore.datasets.data_root`).
        size: Height and width that the images are resized to, 16 ... 512 pixels.
        verify: Check sequences, subjects, and images per emotion against the official numbers, and that each sequence
            ends with the frame of its emotion file and has no gap among the frames that are taken from its end.
        progress: Show a progress bar.
        contempt: Take also the 18 sequences of contempt, with the label ``Emotion.CONTEMPT``.
        neutral: Take also the first frame of each sequence, with the label ``Emotion.NEUTRAL``.
        frames: How many frames of each sequence, from its end.
        crop: ``"landmarks"`` cuts a square around the 68 landmarks, 1.3 times as wide as the longer side of their
            bounding box; ``"centre"`` takes the largest square in the middle; ``"auto"`` cuts by landmarks where there
            is a folder ``Landmarks``.

    Returns:
        Images (927, size, size, 1) uint8 by default, (981, …) with contempt, by sequence and frame. Subjects are
        ``"S005"``, groups are the sequences, ``"S005_001"``.

    Raises:
        DatasetNotFoundError: If the folder of the images or that of the emotions is not there.
        DatasetError: If an image, emotion or landmark file is damaged, missing or in the wrong place; names it.
        ValueError: If an option is none of those allowed.
    """
    check_size(size)
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 1:
        raise ValueError(f"frames={frames!r}: a whole number from 1.")
    top = _top(root)
    choice = _Choice(bool(contempt), bool(neutral), frames, ckplus_crop.resolve(crop, top))
    tree = scan(top)
    found = _find(tree, choice)
    check = (lambda: _check(top, tree, found, choice)) if verify else None
    options = asdict(choice)
    return read_found(ABOUT, root, found, check, size=size, channels=1, progress=progress, options=options)


def sequences(root: str | Path, contempt: bool = False, labelled: bool = True) -> list[Sequence]:
    """List the sequences of CK+ as whole clips, without reading any image.

    Args:
        root: The data folder.
        contempt: List also those of contempt.
        labelled: List only those with an emotion; False lists also the 266 without, whose label is None.

    Returns:
        By default the 309 sequences of six emotions, by name.

    Raises:
        DatasetNotFoundError: If the folder of the images or that of the emotions is not there.
        DatasetError: If an emotion file is damaged or in the wrong place; names it.
    """
    found = scan(_top(root)).sequences
    if labelled:
        found = [sequence for sequence in found if sequence.label is not None]
    return [sequence for sequence in found if contempt or sequence.label is not Emotion.CONTEMPT]


def _top(root: str | Path) -> Path:
    """Return the folder that holds the images and the emotions."""
    top = top_folder(ABOUT, root, [TOP], [IMAGES])
    if not (top / EMOTION).is_dir():
        missing = f"the folder {EMOTION}/ beside {IMAGES}/ (it comes in an archive of its own)"
        raise replace(ABOUT, layout=(missing,)).absent(root)
    return top


def _find(tree: Tree, choice: _Choice) -> Found:
    chosen = [sequence for sequence in tree.sequences if choice.takes(sequence)]
    items = [item for sequence in chosen for item in _items(sequence, choice)]
    every = [path for sequence in tree.sequences for path in sequence.paths]
    by_landmarks = choice.crop == "landmarks"
    landmarks = [ckplus_crop.landmark_file(item.path) for item in items] if by_landmarks else []
    what = f"last {choice.frames} frames" + (" and the first" if choice.neutral else "")
    cut = "cut by landmarks" if by_landmarks else "largest square in the middle"
    source = f"{what} of {len(chosen)} labelled sequences of {IMAGES}/, {cut}"
    return Found(items, [*every, *tree.emotions, *landmarks, *tree.strays], source, _skipped(tree, choice))


def _items(sequence: Sequence, choice: _Choice) -> Iterator[Item]:
    """Yield the first frame where it is asked for, and the last ones."""
    wanted = choice.frames + choice.neutral
    if len(sequence.paths) < wanted:
        raise DatasetError(
            f"{sequence.paths[0].parent} has {len(sequence.paths)} frames instead of at least {wanted}. Copy the "
            "sequence again, or ask for fewer frames."
        )
    peak = [(path, sequence.label) for path in sequence.paths[-choice.frames :]]
    first = [(sequence.paths[0], Emotion.NEUTRAL)] if choice.neutral else []
    for path, label in first + peak:
        yield Item(path, label, sequence.subject, sequence.name, ckplus_crop.face_box(path, choice.crop))


def _skipped(tree: Tree, choice: _Choice) -> tuple[str, ...]:
    labels = [sequence.label for sequence in tree.sequences]
    told = []
    if unlabelled := labels.count(None):
        told.append(f"sequences without an emotion file, as the release has them: {unlabelled}")
    if not choice.contempt and (contempt := labels.count(Emotion.CONTEMPT)):
        told.append(f"sequences of contempt: {contempt} (contempt=True reads them)")
    return (*told, *passed_over(ABOUT.title, tree.strays))


def _check(top: Path, tree: Tree, found: Found, choice: _Choice) -> None:
    replace(ABOUT, counts={"all": choice.counts()}).check(top, found.labels)
    labelled = [sequence for sequence in tree.sequences if sequence.label is not None]
    counted = (
        len(tree.sequences),
        len({sequence.subject for sequence in tree.sequences}),
        len(labelled),
        len({sequence.subject for sequence in labelled}),
    )
    compare(top, dict(zip(RELEASE, counted, strict=True)), RELEASE)
    check_peaks(filter(choice.takes, tree.sequences), tree.emotions, choice.frames)
