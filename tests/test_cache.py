"""The cache of datasets: read once, read again fast, and never stale."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import layouts
import numpy as np
import pytest
from conftest import fer2013_rows, write_fer2013

from fercore import datasets
from fercore.datasets import cache, content_checksum, fer2013
from fercore.errors import DatasetError


def load(root):
    return datasets.load("fer2013", root=root, verify=False, progress=False)


@pytest.fixture
def root(tmp_path):
    write_fer2013(tmp_path, fer2013_rows())
    return tmp_path


def refuse(*_):
    raise AssertionError("the files were read again")


def entries(root):
    return sorted((root / ".cache").iterdir())


def test_second_load_comes_from_the_cache_and_is_the_same(root, monkeypatch):
    first = load(root)
    monkeypatch.setattr(fer2013, "_read_table", refuse)
    second = load(root)
    assert (second.images == first.images).all()
    assert content_checksum(second.images, second.labels) == second.checksum == first.checksum
    for column in ("labels", "usage", "paths"):
        assert (getattr(second, column) == getattr(first, column)).all()
    assert second.source == first.source
    assert second.subjects is None
    assert second.labels.dtype == np.int64
    assert len(entries(root)) == 1  # nothing half-done is left


def test_changed_files_are_read_again(root):
    first = load(root)
    rows = fer2013_rows(seed=1)
    path = write_fer2013(root, rows)
    assert load(root).checksum != first.checksum
    os.utime(path, ns=(0, 0))  # the same content at another time is read again too, with the same result
    again = load(root)
    assert again.images[5].ravel().tolist() == [int(p) for p in rows[5][1].split()]
    assert len(entries(root)) == 1


def test_options_have_entries_of_their_own(root):
    load(root)
    with pytest.raises(DatasetError, match="instead of 28709"):  # verification is not skipped by the cache
        datasets.load("fer2013", root=root, progress=False)
    assert len(entries(root)) == 1


@pytest.mark.parametrize("name", ["about.json", "images.npy", "columns.npz"])
@pytest.mark.parametrize("damage", ["cut", "gone", "garbage"])
def test_damaged_entries_are_made_anew(root, name, damage):
    first = load(root)
    path = entries(root)[0] / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:50] if damage == "cut" else b"garbage")
    assert (load(root).images == first.images).all()
    assert path.stat().st_size > 50


def test_large_sets_stay_on_the_disk(root, monkeypatch):
    expected = load(root).images
    monkeypatch.setattr(cache, "_IN_MEMORY", 0)
    images = load(root).images
    assert isinstance(images, np.memmap)
    assert not images.flags.writeable
    assert (images == expected).all()


def test_a_failing_build_leaves_nothing(root):
    path = root / "fer2013" / "fer2013.csv"
    path.write_text(path.read_text().replace("Training", "Testing", 1))
    with pytest.raises(DatasetError):
        load(root)
    assert not any((root / ".cache").iterdir())


def full(*_, **__):
    raise OSError("No space left on device")


@pytest.mark.parametrize("what", ["mkdtemp", "savez", "rename", "posix_fallocate"])
def test_without_room_for_a_cache_there_is_a_warning_and_the_dataset(tmp_path, monkeypatch, what):
    layouts.write_jaffe(tmp_path, layouts.jaffe_names()[:9])
    arguments = {"root": tmp_path, "verify": False, "progress": False}
    expected = datasets.load("jaffe", **arguments)
    shutil.rmtree(tmp_path / ".cache")
    if what == "posix_fallocate":
        real = os.posix_fallocate
        places = iter([full, real])  # none in the cache, enough for temporary files
        monkeypatch.setattr(os, what, lambda *given: next(places)(*given))
    else:
        owner = {"mkdtemp": cache.tempfile, "savez": np, "rename": Path}[what]
        monkeypatch.setattr(owner, what, full if what != "mkdtemp" else mkdtemp_elsewhere(tmp_path))
    with pytest.warns(UserWarning, match="could not be written.*No space left"):
        data = datasets.load("jaffe", **arguments)
    assert (data.images == expected.images).all()
    assert not any((tmp_path / ".cache").iterdir())


def mkdtemp_elsewhere(root):
    """The function of the standard library, which fails below ``root``."""
    real = cache.tempfile.mkdtemp
    return lambda *given, **named: (full if str(root) in str(named.get("dir")) else real)(*given, **named)


def test_one_folder_by_several_names_is_one_entry(root, monkeypatch):
    first = load(root)
    monkeypatch.setattr(fer2013, "_read_table", refuse)
    monkeypatch.chdir(root.parent)
    for name in (Path(root.name), root / "fer2013" / ".."):
        assert load(name).checksum == first.checksum
    moved = root.rename(root.with_name("moved"))
    assert load(moved).checksum == first.checksum


def test_paths_name_file_and_line(root):
    paths = load(root).paths
    assert paths[0] == "fer2013.csv:2"
    assert paths[-1] == "fer2013.csv:43"
