"""Which members an archive may have: the rules that :mod:`fercore.archives` explains and applies."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import Any, NoReturn

from fercore.errors import DatasetError

MAX_MEMBERS = 500_000
MAX_TOTAL = 20 * 10**9  # bytes
MAX_RATIO = 200  # of unpacked to packed size of a member, for more than:
RATIO_FROM = 10 * 10**6  # bytes
MAX_TOTAL_RATIO = 100  # of all that is unpacked to the archive's size, for more than:
TOTAL_RATIO_FROM = 50 * 10**6  # bytes


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        name: Relative, with forward slashes, checked by :func:`safe_name`.
        size: Bytes, as the archive declares them.
        raw: What the archive's own module knows it by.
    """

    name: str
    size: int
    raw: Any = field(default=None, compare=False, repr=False)


def safe_name(name: str) -> str:
    """Return a member's name without empty and ``.`` parts; ``""`` if nothing is left.

    Raises:
        ValueError: If it could lead anywhere but to a place below the folder it is unpacked into; says why.
    """
    if name.startswith("/"):
        raise ValueError("is an absolute path")
    if "\\" in name:
        raise ValueError("has a backslash in its name")
    if ":" in name:
        raise ValueError("has a colon in its name, as drives have")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise ValueError("has a character in its name that is no text")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    # Windows drops dots and blanks at the end of a name: ".. " is ".." there.
    if any(not part.rstrip(" .") for part in parts):
        raise ValueError("leads out of its folder")
    return "/".join(parts)


def in_bytes(count: float) -> str:
    """Return a number of bytes for people: ``"1.2 GB"``."""
    if count < 1000:
        return f"{count} bytes"
    for unit in ("kB", "MB"):
        count /= 1000
        if count < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:,.1f} GB"


class Inspector:
    """Takes the members one after the other and refuses the archive at the first that breaks a rule.

    Args:
        title: Name of the archive, for messages.
        packed: Size of the archive in bytes.

    Attributes:
        members: The files taken, without what macOS leaves in archives.
    """

    def __init__(self, title: str, packed: int) -> None:
        self.title = title
        self.members: list[Member] = []
        self._packed = packed
        self._count = self._total = 0
        self._last = ""
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def where(self) -> str:
        """Say how far the members could be listed."""
        return f"after the member {self._last!r}" if self._last else "at its start"

    def refuse(self, name: str, why: str) -> NoReturn:
        """Raise the ``DatasetError`` that names the archive, a member, and the rule that it breaks."""
        raise DatasetError(
            f"{self.title} was refused: {name[:100]!r} {why}. Nothing was unpacked. The official archives are not "
            "like this: get yours again from its owner."
        )

    def take(self, name: str, size: int, packed: int | None, folder: bool, raw: Any = None) -> None:
        """Check the next member and keep it.

        Args:
            name: As the archive has it.
            size: Declared size in bytes.
            packed: Compressed size in bytes; None where only the archive as a whole has one.
            folder: It is a folder.
            raw: What the archive's own module knows it by.

        Raises:
            DatasetError: If it breaks a rule.
        """
        self._count += 1
        if self._count > MAX_MEMBERS:
            self.refuse(name, f"is one of more than {MAX_MEMBERS:,} members")
        try:
            clean = safe_name(name)
        except ValueError as error:
            self.refuse(name, str(error))
        if not clean and not folder:
            self.refuse(name, "is a file without a name")
        self._weigh(name, size, packed)
        self._refuse_collision(name, clean, folder)
        self._last = clean
        if not folder and not _is_junk(clean):
            self.members.append(Member(clean, size, raw))

    def _weigh(self, name: str, size: int, packed: int | None) -> None:
        self._total += size
        if size < 0:
            self.refuse(name, "has a negative size")
        if self._total > MAX_TOTAL:
            self.refuse(name, f"brings the archive to more than {in_bytes(MAX_TOTAL)}")
        if packed is not None and size > RATIO_FROM and size > MAX_RATIO * packed:
            self.refuse(name, f"makes {in_bytes(size)} out of {in_bytes(packed)}, more than {MAX_RATIO} : 1")
        total, archive = self._total, self._packed
        if total > TOTAL_RATIO_FROM and total > MAX_TOTAL_RATIO * archive:
            brings = f"brings what is unpacked to {in_bytes(total)} out of {in_bytes(archive)}"
            self.refuse(name, f"{brings}, more than {MAX_TOTAL_RATIO} : 1")

    def _refuse_collision(self, name: str, clean: str, folder: bool) -> None:
        if not clean:  # "./", the folder itself
            return
        key = _key(clean)
        parents = [key[:end] for end, letter in enumerate(key) if letter == "/"]
        if key in self._files or (key in self._folders and not folder) or not self._files.isdisjoint(parents):
            self.refuse(
                name,
                "is there twice, or beside a name that differs only in case or spelling, or as file and folder",
            )
        self._folders.update(parents)
        (self._folders if folder else self._files).add(key)


def _key(name: str) -> str:
    """Return a name as the most forgiving file system compares it."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    return "/".join(part.rstrip(" .") for part in folded.split("/"))


def _is_junk(name: str) -> bool:
    """Tell whether a member is what macOS leaves in archives."""
    *folders, last = name.split("/")
    return "__MACOSX" in folders or last == ".DS_Store" or last.startswith("._")
