"""Archives, and what lies in a folder: shared by the tests that unpack."""

from __future__ import annotations

import io
import tarfile
import zipfile

from ferlab.data import add as adding

GOOD = {"jaffe/KA.AN1.39.tiff": b"image", "jaffe/README": b"text"}


def files(folder):
    """Return the content of all files below a folder by relative path, without the loaders' cache."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".cache" not in path.parts
    }


def tree(folder):
    """Return every path below a folder, links and empty folders too, without the loaders' cache."""
    return sorted(str(path) for path in folder.rglob("*") if ".cache" not in path.parts)


def zipped(path, content, method=zipfile.ZIP_DEFLATED):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def tarred(path, content, mode="w:gz"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o000
            archive.addfile(info, io.BytesIO(data))
    return path


def below(prefix, content):
    return {f"{prefix}{name}": data for name, data in content.items()}


def add(path, root, **options):
    return adding.add(path, root, progress=False, **options)
