"""What travels home from a machine: a few files, none over 16 MB; and how they are put in their places there."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path, PurePosixPath

from lease import RECORDS, read_record

from fercore import checkpoints
from fercore.checkpoints import atomic_path
from fercore.errors import FercoreError

LARGEST = 15_000_000  # bytes of one file
PLACES = ("runs/results", "runs/weights", "runs/fer2013/explainers")


def pack(root: Path, out: Path, network: str = "") -> None:
    """Write archives of all small files, and the weights of a network, by its name, in parts."""
    out.mkdir(parents=True, exist_ok=True)
    files = [path for place in PLACES for path in sorted((root / place).rglob("*")) if path.is_file()]
    large = [path for path in files if path.stat().st_size > LARGEST]
    small = [path for path in files if path not in large and path.suffix in (".json", ".safetensors")]
    groups: list[list[Path]] = [[]]
    for path in small:
        if groups[-1] and sum(p.stat().st_size for p in [*groups[-1], path]) > LARGEST:
            groups.append([])
        groups[-1].append(path)
    for number, group in enumerate(groups):
        with (
            atomic_path(out / f"records-{number}.tar.gz") as temporary,
            tarfile.open(temporary, "w:gz") as tar,
        ):
            for path in group:
                tar.add(path, path.relative_to(root).as_posix())
    for weights in (path for path in large if path.stem == network):
        tensors, about = checkpoints.read(weights)
        parts: list[dict] = [{}]
        for name, tensor in tensors.items():
            if parts[-1] and sum(t.nbytes for t in [*parts[-1].values(), tensor]) > LARGEST:
                parts.append({})
            parts[-1][name] = tensor
        said = {"file": weights.relative_to(root).as_posix(), "of": len(parts), "about": about}
        for number, part in enumerate(parts):
            checkpoints.save(out / f"weights-{number}.safetensors", part, {**said, "part": number})


def collect(parcel: Path, root: Path) -> list[str]:
    """Put a parcel's files in their places below the project folder; return what was done, a line each.

    Records and outcomes go to ``results/``, where they can be committed; weights and maps of single faces stay in
    ``runs/``. A record that is there and is newer is left alone.
    """
    said = []
    for path in sorted(parcel.glob("records-*.tar.gz")):
        said += _unpack(path, root)
    if not said:
        raise FercoreError(f"{parcel} holds no records-0.tar.gz: name the folder that was brought home.")
    return said + _join(parcel, root)


def _unpack(path: Path, root: Path) -> list[str]:
    """Put the files of one archive in their places."""
    said = []
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                place = PurePosixPath(member.name)
                known = any(place.is_relative_to(p) for p in PLACES) and ".." not in place.parts
                if not member.isfile() or not known:
                    raise FercoreError(f"{path} holds {member.name}, which is no result: not unpacked.")
                said.append(_place(root, place, tar.extractfile(member).read()))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise FercoreError(f"{path} is damaged ({error}): bring it home again.") from error
    return said


def _place(root: Path, place: PurePosixPath, content: bytes) -> str:
    """Write one file, unless a newer record or another result is there."""
    target = root / place
    if place.is_relative_to("runs/results"):
        target = root / "results" / place.relative_to("runs/results")
    if target.is_file():
        if target.read_bytes() == content:
            return f"{target.relative_to(root)}: as it was"
        if RECORDS.name in place.parts and json.loads(content)["finished"] <= read_record(target)["finished"]:
            return f"{target.relative_to(root)}: newer than the parcel's, left alone"
        if RECORDS.name not in place.parts:
            return f"{target.relative_to(root)}: another than the parcel's, left alone; delete it to take the parcel's"
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)
    return f"{target.relative_to(root)}: written"


def _join(parcel: Path, root: Path) -> list[str]:
    """Put the parts of weights together."""
    parts = [checkpoints.read(path) for path in sorted(parcel.glob("weights-*.safetensors"))]
    if not parts:
        return []
    first = parts[0][1]
    file, count = first["file"], first["of"]
    there = sorted((about["file"], about["part"]) for _, about in parts)
    if there != [(file, part) for part in range(count)]:
        raise FercoreError(f"{parcel} holds {len(parts)} parts of {file}, not all {count}: bring them again.")
    if not file.startswith("runs/weights/") or ".." in PurePosixPath(file).parts:
        raise FercoreError(f"{parcel}: weights for {file}, which is no place for weights.")
    if (root / file).is_file():
        return [f"{file}: is there, left alone"]
    tensors = {name: tensor for part, _ in parts for name, tensor in part.items()}
    checkpoints.save(root / file, tensors, first["about"])
    return [f"{file}: joined from {count} parts"]
