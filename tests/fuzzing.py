"""What the fuzzing draws: damage to whole files, names near the official ones, JSON, images, archives.

How many cases: 100, the same on every machine. ``FERCORE_SOAK=1`` (``make soak``) takes the profile ``soak``, 10,000
cases drawn anew from ``--hypothesis-seed``.
"""

from __future__ import annotations

import copy
import functools
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

SOAK = os.environ.get("FERCORE_SOAK") == "1"
settings.register_profile("soak", max_examples=10_000, deadline=None, database=None, print_blob=True)
UNCHECKED = [HealthCheck.too_slow, HealthCheck.data_too_large]


@dataclass(frozen=True)
class Kind:
    """A kind of untrusted file: what is drawn, what reads it and checks the outcome, and cases that once failed."""

    cases: st.SearchStrategy[dict[str, Any]]
    read: Callable[..., None]
    known: Sequence[dict[str, Any]]
    needs: str | None


KINDS: dict[str, Kind] = {}


def untrusted(
    kind: str, /, known: Sequence[dict[str, Any]] = (), needs: str | None = None, **drawn: Any
) -> Any:
    """Register what reads a kind of file: a function of a folder, of the fixture it ``needs``, and of what is drawn."""

    def register(read: Callable[..., None]) -> None:
        KINDS[kind] = Kind(st.fixed_dictionaries(drawn), read, known, needs)

    return register


def fuzz(kind: Kind, read: Callable[..., None]) -> None:
    """Read the known cases, and as many drawn ones as the profile says."""

    def test(case: dict[str, Any]) -> None:
        read(**case)

    for known in kind.known:
        test = example(case=known)(test)
    profile = settings.get_profile("soak" if SOAK else "repeatable")
    settings(profile, suppress_health_check=UNCHECKED)(given(case=kind.cases)(test))()


# Damage to bytes

SHARES = st.integers(0, 2**16 - 1).map(lambda number: number / 2**16)  # uniform, as floats would not be
BYTES = st.binary(max_size=8)
DAMAGES = st.sampled_from(["flip", "flip", "set", "insert", "delete", "repeat", "cut"])
EDITS = st.lists(st.tuples(DAMAGES, SHARES, BYTES), max_size=4)
FLIPS = st.lists(st.tuples(st.just("flip"), SHARES, BYTES), min_size=1, max_size=2)  # no more than bits


def damaged(content: bytes | str, edits: Sequence[tuple[str, float, bytes]]) -> bytes:
    """Return bytes with pieces changed, added, lost or doubled."""
    left = bytearray(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    for kind, share, piece in edits:
        place = int(share * len(left))
        if kind == "flip" and left:
            left[place] ^= 1 << len(piece) % 8
        elif kind == "set":
            left[place : place + len(piece)] = piece
        elif kind == "insert":
            left[place:place] = piece
        elif kind == "delete":
            del left[place : place + 1 + len(piece) ** 2]
        elif kind == "repeat":
            left[place:place] = left[place : place + 5 * len(piece)]
        else:
            del left[place:]
    return bytes(left)


# Words and names

NUMBERS = ["-1", "7", "11", "256", "1e3", "3.0", "nan", "inf", "0x10", "1_0", "٣", "𝟛", "9" * 20, "9" * 5000]
SIGNS = ["", " ", "\0", '"', "'", ",", "\n", "\ufeff", "\\", "é", "ß", "<b>", "|", "[" * 2000]
ODD = [*NUMBERS, *SIGNS, "=1+1", "__import__('os')", "../x"]
odd = st.sampled_from(ODD) | st.text(st.characters(codec="utf-8"), max_size=5)
short = odd.filter(lambda text: len(text) < 40)


def near(name: str) -> st.SearchStrategy[str]:
    """Draw the name itself, or one that is nearly it."""

    def changed(drawn: tuple[str, float, str]) -> str:
        kind, share, text = drawn
        place = int(share * len(name))
        return {
            "same": name,
            "case": name.swapcase(),
            "other": name[:place] + text + name[place + 1 :],
            "more": name[:place] + text + name[place:],
            "less": name[:place] + name[place + 1 :],
        }[kind]

    kinds = st.sampled_from(["same", "same", "same", "case", "other", "more", "less"])
    return st.tuples(kinds, SHARES, short).map(changed)


def near_path(path: str) -> st.SearchStrategy[tuple[str, ...]]:
    """Draw the parts of a path, each as it is or nearly so."""
    return st.tuples(*map(near, path.split("/")))


# JSON

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | odd,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(short, inner, max_size=3),
    max_leaves=6,
)
WAYS = st.lists(st.integers(0, 50), max_size=4)
CHANGES = st.lists(st.tuples(WAYS, st.sampled_from(["value", "value", "delete"]), JSON), max_size=3)


def changed(content: Any, changes: Sequence[tuple[list[int], str, Any]]) -> Any:
    """Return JSON content with values replaced or deleted, at any depth."""
    whole = [copy.deepcopy(content)]
    for path, kind, value in changes:
        holder: Any = whole
        key: Any = 0
        for step in path:
            inner = holder[key]
            if not (isinstance(inner, dict | list) and inner):
                break
            keys = sorted(inner) if isinstance(inner, dict) else range(len(inner))
            holder, key = inner, keys[step % len(keys)]
        if kind == "value" or holder is whole:
            holder[key] = value
        else:
            del holder[key]
    return whole[0]


def document(content: Any, changes: Sequence[Any], edits: Sequence[Any]) -> bytes:
    """Return a file of JSON with other values, and damaged."""
    return damaged(json.dumps(changed(content, changes)), edits)


# Images

FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "TGA", "ICO", "PCX"]
MODES = {"RGBA": "PNG", "LA": "PNG", "P": "PNG", "1": "PNG", "CMYK": "TIFF", "I;16": "TIFF", "F": "TIFF"}
HEADS = [
    b"",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"BM",
    b"RIFF",
    b"P5 9 9 9 ",
]


@functools.cache
def encoded(kind: str) -> bytes:
    """Return a small image file of a kind that readers bring."""
    noise = np.random.default_rng(0).integers(0, 256, (50, 52, 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    options = {"exif": exif} if kind in ("JPEG", "WEBP", "PNG") else {}
    if kind == "I;16":
        picture = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(noise).convert(kind if kind in MODES else "RGB")
    file = io.BytesIO()
    picture.save(file, MODES.get(kind, kind), **options)
    return file.getvalue()


PICTURES = st.one_of(
    st.builds(lambda kind, edits: damaged(encoded(kind), edits), st.sampled_from([*FORMATS, *MODES]), EDITS),
    st.tuples(st.sampled_from(HEADS), st.binary(max_size=300)).map(b"".join),
)


# Archives

SORTS = [tarfile.REGTYPE] * 4 + [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE]


def packed(kind: str, members: Sequence[tuple[str, bytes, bytes]]) -> bytes:
    """Return an archive of (name, content, type of a tar's member): "stored" or "deflated", "tar" or "tar.gz"."""
    file = io.BytesIO()
    named = [(name.encode("utf-8", "replace").decode(), content, sort) for name, content, sort in members]
    if kind in ("stored", "deflated"):
        method = zipfile.ZIP_STORED if kind == "stored" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(file, "w", method) as archive:
            for name, content, _ in named:
                archive.writestr(zipfile.ZipInfo(name), content, method)
        return file.getvalue()
    with tarfile.open(fileobj=file, mode="w:gz" if kind == "tar.gz" else "w") as archive:
        for name, content, sort in named:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = sort, "../x"
            info.size = len(content) if sort == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()
