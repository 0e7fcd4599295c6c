"""Unpack other people's archives without trusting them.

An archive says where its files go and how large they are, and it may say anything. So nothing here lets it decide.

Before the first byte is written, the whole archive is refused if one of its members breaks a rule:

1. **Names** are relative, with forward slashes. No absolute path, no ``..``, no backslash, no colon (drives, streams),
   no control character. No two members share a name once case and Unicode forms are evened out, and none is a file
   and a folder at once: on some file systems the second would overwrite the first.
2. **Kinds**: ordinary files and folders only. No symbolic or hard link, device, pipe or sparse file, nothing encrypted.
3. **Sizes**: at most 500,000 members and 20 GB in all. No member of more than 10 MB is packed tighter than 200 : 1 (in
   a zip), and no archive of more than 50 MB in all tighter than 100 : 1. A dataset that has been recognised may not
   declare more than :data:`fercore.datasets.recognise.LIMITS` has for it. The disk has room for what is declared.

While unpacking, the bytes that really come are counted: a member that holds more or less than it declared stops it, and
so does a wrong checksum. The caller computes every path that is written to, and no file is written over. Files get
ordinary permissions, whatever the archive says. ``__MACOSX``, ``.DS_Store`` and ``._name`` are passed over.

Zip, tar and tar.gz are read. Other kinds are recognised and named in the error.
"""

from __future__ import annotations

import contextlib
import gzip
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tqdm import tqdm

from fercore.archive_rules import Inspector, Member, in_bytes, safe_name
from fercore.errors import DatasetError

_BLOCK = 2**20
_MAX_HEADER = 2**24  # tarfile reads a header in one piece, however long it claims to be
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000  # zip's flags: encrypted, strongly encrypted, directory encrypted
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # of the others, zipfile does not bound the memory
_TAR_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    RuntimeError,
    ArithmeticError,
    struct.error,
    zlib.error,
    tarfile.TarError,
    zipfile.BadZipFile,
)
_MAGIC = {b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"\x1f\x8b": "tar.gz"}
_FOREIGN = {
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "rar",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


@dataclass(frozen=True)
class Archive:
    """An open archive whose members all keep the rules of this module.

    Attributes:
        title: The archive's name, for messages.
        members: Its files, without folders and without what operating systems leave behind.
        open: Gives the bytes of a member.
    """

    title: str
    members: tuple[Member, ...]
    open: Callable[[Member], IO[bytes]]


def kind(path: Path) -> str | None:
    """Return ``"zip"``, ``"tar"`` or ``"tar.gz"`` by a file's first bytes; None if it is no archive.

    Raises:
        DatasetError: If it is an archive of another kind.
    """
    with open(path, "rb") as file:
        start = file.read(512)
    for magic, name in _FOREIGN.items():
        if start.startswith(magic):
            raise DatasetError(
                f"{path} is a {name} archive. Only zip, tar and tar.gz are read here: unpack it yourself, pack the "
                "folder as zip, and add that."
            )
    if start[257:262] == b"ustar":
        return "tar"
    return next((name for magic, name in _MAGIC.items() if start.startswith(magic)), None)


@contextlib.contextmanager
def opened(path: Path, title: str | None = None) -> Iterator[Archive]:
    """Open an archive and check all its members.

    Args:
        path: Zip, tar or tar.gz.
        title: What to call it in messages; its path by default.

    Yields:
        The archive.

    Raises:
        DatasetError: If it is of another kind, damaged, or breaks a rule of this module.
    """
    title = title or str(path)
    inspector = Inspector(title, path.stat().st_size)
    sort = kind(path)
    if sort is None:
        raise DatasetError(
            f"{title} is neither a zip nor a tar archive, nor a CSV file of FER2013 or FER+. It may be damaged: "
            "download it again."
        )
    with contextlib.ExitStack() as stack:
        with _reading(title, inspector.where):
            if sort == "zip":
                reader = stack.enter_context(zipfile.ZipFile(path))
                _list_zip(reader, inspector)
            else:
                reader = _open_tar(path, sort, stack)
                _list_tar(reader, inspector)
        yield Archive(title, tuple(inspector.members), lambda member: _open_member(reader, member))


@contextlib.contextmanager
def single(path: Path, name: str) -> Iterator[Archive]:
    """Treat a file that is no archive as one with a single member of a given name."""
    yield Archive(str(path), (Member(name, path.stat().st_size),), lambda _: path.open("rb"))


def unpack(archive: Archive, places: Mapping[Member, str], folder: Path, progress: bool = True) -> None:
    """Copy members to places in a folder. If it fails, what has been written is left to the caller to remove.

    Args:
        archive: An open archive.
        places: For each member its path below ``folder``.
        folder: Where to write; nothing in it is overwritten.
        progress: Show a progress bar.

    Raises:
        DatasetError: If the disk is too small, a member is damaged, or it is not as long as declared.
    """
    targets = {member: folder / safe_name(place) for member, place in places.items()}
    total = sum(member.size for member in targets)
    _check_space(archive, folder, total)
    style = {"unit": "B", "unit_scale": True, "desc": "Unpacking", "disable": not progress}
    with tqdm(total=total, **style) as bar:
        for member, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "xb") as file:
                for block in _blocks(archive, member):
                    file.write(block)
                    bar.update(len(block))


@contextlib.contextmanager
def _reading(title: str, where: Callable[[], str]) -> Iterator[None]:
    """Turn what the archive modules raise on damaged input into one error that names archive and place."""
    try:
        yield
    except DatasetError:
        raise
    except _DAMAGE as error:
        raise DatasetError(
            f"{title} is damaged or cut short {where()} ({error}). Copy or download it again."
        ) from error


def _list_zip(reader: zipfile.ZipFile, inspector: Inspector) -> None:
    for info in reader.infolist():
        name = info.orig_filename  # zipfile cuts `filename` at a null character
        mode = info.external_attr >> 16
        if info.flag_bits & _ENCRYPTED:
            inspector.refuse(name, "is encrypted")
        if info.compress_type not in _ZIP_METHODS:
            inspector.refuse(name, f"is packed by zip's method {info.compress_type}, which is not read here")
        if stat.S_ISLNK(mode):
            inspector.refuse(name, "is a symbolic link")
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            inspector.refuse(name, "is a device or a pipe")
        folder = name.endswith("/") or stat.S_ISDIR(mode)
        inspector.take(name, info.file_size, info.compress_size, folder, info)


class _Frugal:
    """A file that gives no more at once than an honest header needs."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)


def _open_tar(path: Path, sort: str, stack: contextlib.ExitStack) -> tarfile.TarFile:
    opener = gzip.open if sort == "tar.gz" else open
    file = stack.enter_context(opener(path, "rb"))
    return stack.enter_context(tarfile.TarFile(fileobj=_Frugal(file)))


def _list_tar(reader: tarfile.TarFile, inspector: Inspector) -> None:
    for info in reader:
        if info.issym() or info.islnk():
            inspector.refuse(info.name, f"is a {'symbolic' if info.issym() else 'hard'} link")
        if info.type not in (*_TAR_FILES, tarfile.DIRTYPE) or info.issparse():
            inspector.refuse(info.name, "is a device, a pipe or a sparse file")
        inspector.take(info.name, info.size, None, info.isdir(), info)
    # tarfile takes a broken header for the end; and gzip's checksum comes after it.
    reader.fileobj.seek(reader.offset)
    end = reader.fileobj.read(_BLOCK)
    if len(end) < tarfile.BLOCKSIZE or any(end[: tarfile.BLOCKSIZE]):
        raise tarfile.ReadError("the mark of the end is missing")


def _open_member(reader: zipfile.ZipFile | tarfile.TarFile, member: Member) -> IO[bytes]:
    return reader.open(member.raw) if isinstance(reader, zipfile.ZipFile) else reader.extractfile(member.raw)


def _blocks(archive: Archive, member: Member) -> Iterator[bytes]:
    """Yield the bytes of a member in blocks, never more than it declared."""
    came = 0
    with _reading(archive.title, lambda: f"in the member {member.name!r}"), archive.open(member) as stream:
        while came <= member.size and (block := stream.read(_BLOCK)):
            came += len(block)
            if came <= member.size:
                yield block
    if came != member.size:
        more = "more" if came > member.size else "less"
        raise DatasetError(
            f"{archive.title} is damaged or forged: {member.name!r} holds {more} than the {member.size:,} bytes it "
            "declares. Copy or download it again."
        )


def _check_space(archive: Archive, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DatasetError(
            f"{archive.title} needs {in_bytes(needed)}, but only {in_bytes(free)} are free on the disk of "
            f"{folder.parent}. Make room, or name a folder on another disk with --root or FERCORE_DATA."
        )
