"""Tiny datasets in the official layouts, with the quirks of the real ones: irregular numbers, hidden and stray files.

Every writer puts its dataset under ``<root>/<name>``, where the loaders look, and returns that folder. Images are small
and of one grey value or colour, which follows from the file's name: :func:`value_of`.
"""

from __future__ import annotations

import functools
import io
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from fercore import datasets
from fercore.datasets import ck48, ckplus, ferg, jaffe
from fercore.datasets.ckplus import CODES
from fercore.emotions import NAMES

SIDE = 20  # of square images
CK_WIDTH, CK_HEIGHT = 28, 21  # of the frames of CK+: wider than high, like 640 x 490


def value_of(name: str) -> int:
    """Return the grey value, 0 ... 255, of the image with a file name."""
    return zlib.crc32(name.encode()) % 256


@functools.cache
def encoded(value: int, size: tuple[int, int], mode: str, kind: str) -> bytes:
    """Return an image file of one grey value; in colour, red is ``value`` and green and blue are not."""
    color = value if mode == "L" else (value, 255 - value, value // 2, 255)[: len(mode)]
    content = io.BytesIO()
    Image.new(mode, size, color).save(content, kind)
    return content.getvalue()


def write_image(path: Path, size: tuple[int, int] = (SIDE, SIDE), mode: str = "L") -> Path:
    """Write a PNG or TIFF file whose value follows from its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "TIFF" if path.suffix.startswith(".tif") else "PNG"
    path.write_bytes(encoded(value_of(path.name), size, mode, kind))
    return path


def write_ferg(
    root: Path, per: int = 2, characters: Iterable[str] = ferg.CHARACTERS, top: str = ferg.TOP
) -> Path:
    """Write FERG-DB with ``per`` images of each character and emotion, numbered from 9 (9 sorts before 10)."""
    for character in characters:
        for emotion in ferg.EMOTIONS:
            stem = f"{character}_{emotion}"
            for number in range(9, 9 + per):
                path = root / "ferg" / top / character / stem / f"{stem}_{number}.png"
                write_image(path, mode="RGBA" if number == 9 else "RGB")
    return root / "ferg"


def jaffe_names() -> list[str]:
    """Return 213 names with the official numbers per subject and per emotion, and the official serial numbers."""
    subjects = [subject for subject, count in jaffe.SUBJECTS.items() for _ in range(count)]
    left = {code: jaffe.ABOUT.counts["all"][emotion] for code, emotion in jaffe.EMOTIONS.items()}
    codes: list[str] = []
    while any(left.values()):
        codes += [code for code in left if left[code]]
        left = {code: max(0, count - 1) for code, count in left.items()}
    serials = [number for number in range(1, 220) if number not in (8, 12, 21, 76, 108, 183)]
    repeats: dict[tuple[str, str], int] = {}
    names = []
    for subject, code, serial in zip(subjects, codes, serials, strict=True):
        repeats[subject, code] = repeats.get((subject, code), 0) + 1
        names.append(f"{subject}.{code}{repeats[subject, code]}.{serial}.tiff")
    return names


def write_jaffe(root: Path, names: Iterable[str] | None = None, top: str = "jaffe") -> Path:
    """Write JAFFE: all 213 images or those named, beside a README and hidden files as in the release."""
    folder = root / "jaffe" / top
    for name in jaffe_names() if names is None else names:
        write_image(folder / name)
    (folder / "README").write_text("The Japanese Female Facial Expression database\n")
    (folder / ".DS_Store").write_bytes(b"\0")
    return root / "jaffe"


# A few sequences of CK+ with their codes (1 anger … 7 surprise); None has no emotion file.
CKPLUS = {"S005_001": 3, "S010_001": None, "S010_002": 7, "S010_004": 1, "S138_001": 2, "S999_003": 4}


def ckplus_sequences() -> dict[str, int | None]:
    """Return 593 sequences of 123 subjects with the official numbers: 327 with a code, of 118 of the subjects."""
    codes = [code for code, emotion in CODES.items() for _ in range(ckplus.SEQUENCES[emotion])]
    names = [f"S{10 + index % 118:03d}_{1 + index // 118:03d}" for index in range(len(codes))]
    unlabelled = [f"S{10 + index % 123:03d}_{101 + index // 123:03d}" for index in range(593 - len(codes))]
    return dict(zip(names, codes, strict=True)) | dict.fromkeys(unlabelled)


def write_ckplus(
    root: Path,
    sequences: Mapping[str, int | None] = CKPLUS,
    frames: int = 5,
    landmarks: bool = False,
    top: str = "",
) -> Path:
    """Write CK+: the folders of images and emotions, and of landmarks if asked for.

    Args:
        root: The data folder.
        sequences: Codes by name, as in :data:`CKPLUS`.
        frames: Frames per sequence, numbered from 1; those of S1xx are in colour.
        landmarks: Write the 68 points of each frame: a cross of 10 x 8 pixels around (14.5, 10.5).
        top: Folder in ``<root>/ckplus`` that holds the others: ``"CK+"``, or none.
    """
    folder = root / "ckplus" / top
    for name, code in sequences.items():
        place = Path(name[:4], name[5:])
        emotion = folder / "Emotion" / place
        emotion.mkdir(parents=True, exist_ok=True)  # the release has empty folders too
        if code is not None:
            (emotion / f"{name}_{frames:08d}_emotion.txt").write_text(f"   {code:.7e}\n")
        for number in range(1, frames + 1):
            frame = folder / "cohn-kanade-images" / place / f"{name}_{number:08d}.png"
            write_image(frame, (CK_WIDTH, CK_HEIGHT), "RGB" if name.startswith("S1") else "L")
            if landmarks:
                write_landmarks(folder / "Landmarks" / place / f"{frame.stem}_landmarks.txt")
    (folder / "cohn-kanade-images" / ".DS_Store").write_bytes(b"\0")
    return root / "ckplus"


def write_landmarks(path: Path, center: tuple[float, float] = (14.5, 10.5)) -> Path:
    """Write 68 points in the format of CK+: a cross, 10 pixels wide and 8 high."""
    step = 2 * np.linspace(0, 1, 34) ** 2 - 1  # denser at one end: the mean is not the middle
    across = np.stack([5 * step, 0 * step], axis=1)
    down = np.stack([0 * step, 4 * step], axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, np.concatenate([across, down]) + center, fmt="   %.7e")
    return path


# A few sequences of CK+48 with their folders.
CK48 = {"S010_004": "anger", "S138_001": "contempt", "S005_001": "disgust", "S010_002": "surprise"}


def ck48_sequences() -> dict[str, str]:
    """Return 327 sequences with the official number per emotion."""
    folders = [folder for folder, emotion in ck48.EMOTIONS.items() for _ in range(ckplus.SEQUENCES[emotion])]
    return {f"S{10 + i % 118:03d}_{1 + i // 118:03d}": folder for i, folder in enumerate(folders)}


def write_ck48(root: Path, sequences: Mapping[str, str] = CK48, top: str = ck48.TOP) -> Path:
    """Write CK+48 with three frames of each sequence, numbered from 9."""
    for name, emotion in sequences.items():
        for number in (9, 10, 11):
            write_image(root / "ck48" / top / emotion / f"{name}_{number:08d}.png", (48, 48))
    return root / "ck48"


def load(name, root, verify=False, **options):
    return datasets.load(name, root=root, verify=verify, progress=False, **options)


def images_of(folder):
    """All image files of a fixture, sorted."""
    return sorted([*folder.rglob("*.png"), *folder.rglob("*.tiff")])


def expected_grey(path):
    return np.asarray(Image.open(path).convert("L"))[0, 0]


def write_icml(root: Path, rows: Iterable[tuple[int, str, str]]) -> Path:
    """Write (label, pixels, Usage) rows of FER2013 as ``icml_face_data.csv``: two columns have a leading space."""
    path = root / "fer2013" / "icml_face_data.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{label},{usage},{pixels}" for label, pixels, usage in rows]
    path.write_text("\n".join(["emotion, Usage, pixels", *lines]) + "\n")
    return path.parent


def write_fer2013_folders(root: Path, rows: Iterable[tuple[int, str, str]]) -> Path:
    """Write rows of FER2013 as the folders train/ and test/, without loss, numbered in their order."""
    for number, (label, pixels, usage) in enumerate(rows):
        part = "train" if usage == "Training" else "test"
        path = root / "fer2013" / part / NAMES[label].lower() / f"{usage}_{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.array(pixels.split(), dtype=np.uint8).reshape(48, 48)).save(path)
    return root / "fer2013"
