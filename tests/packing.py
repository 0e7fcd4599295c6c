"""Archives, and what lies in a folder: shared by the tests that unpack."""

from __future__ import annotations

import io
import tarfile
import zipfile

GOOD = {"jaffe/KA.AN1.39.tiff": b"image", "jaffe/README": b"text"}


def tree(folder):
    """Return every path below a folder, links and empty folders too, without the loaders' cache."""
    return sorted(str(path) for path in folder.rglob("*") if ".cache" not in path.parts)


def files(folder):
    """Return the content of all files below a folder by relative path, without the loaders' cache."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and ".cache" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def zipped(path, content):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def tarred(path, content, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o000
            archive.addfile(info, io.BytesIO(data))
    return path
