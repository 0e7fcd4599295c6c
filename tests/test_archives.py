"""What the rules of :mod:`ferlab.data.add` refuse, that nothing is left behind, and damaged archives."""

from __future__ import annotations

import io
import random
import stat
import struct
import tarfile
import tempfile
import unicodedata
import zipfile
from pathlib import Path

import pytest
from ferlab.data import add as adding
from ferlab.data import add as archive_rules
from ferlab.data import add as archives
from ferlab.data import add as recognise
from hypothesis import given, settings
from hypothesis import strategies as st
from packing import GOOD, add, below, files, tarred, tree, zipped

from fercore import datasets
from fercore.errors import DatasetError, DatasetNotFoundError, FercoreError


@pytest.fixture
def root(tmp_path):
    """A data folder that does not exist yet."""
    return tmp_path / "data"


def zip_with(*infos, data=b"evil"):
    """Return a builder of a good zip with further members of any kind."""

    def build(path):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in GOOD.items():
                archive.writestr(name, content)
            for number, info in enumerate(infos):
                plain = zipfile.ZipInfo(f"placeholder-{number}")
                plain.filename = info if isinstance(info, str) else info[0]  # the constructor would cut it
                plain.external_attr = 0 if isinstance(info, str) else info[1] << 16
                archive.writestr(plain, data)

    return build


def zip_patched(offset, form, value, name="jaffe/KA.AN1.39.tiff", data=b"image"):
    """Return a builder that changes a field in a member's entry in the central directory."""

    def build(path):
        zipped(path, {**GOOD, name: data})
        content = bytearray(path.read_bytes())
        start = content.index(name.encode(), content.index(b"PK\x01\x02")) - 46
        struct.pack_into(form, content, start + offset, value)
        path.write_bytes(content)

    return build


def tar_with(**fields):
    """Return a builder of a good tar.gz with one more member of any kind."""

    def build(path):
        with tarfile.open(path, "w:gz", format=tarfile.GNU_FORMAT) as archive:
            for name, data in GOOD.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
            info = tarfile.TarInfo("jaffe/evil")
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info)

    return build


def tar_with_sparse_map(path):
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("jaffe/KA.AN1.39.tiff")
        info.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": "99999999999"}
        archive.addfile(info)


def bzip2_zip(path):
    zipped(path, GOOD, zipfile.ZIP_BZIP2)


def encrypted_folder(path):
    zip_patched(8, "<H", 0x2000)(path)


LARGE = {f"jaffe/KA.AN1.{n}.tiff": random.Random(n).randbytes(9000) for n in range(3)}
NFC, NFD = (f"jaffe/{unicodedata.normalize(form, 'é')}" for form in ("NFC", "NFD"))
REFUSED = {
    "zip: parent folder": (zip_with("../evil"), "leads out of its folder"),
    "zip: parent folder below": (zip_with("jaffe/../../evil"), "leads out of its folder"),
    "zip: parent folder of junk": (zip_with("__MACOSX/../../evil"), "leads out of its folder"),
    "zip: parent folder as a folder": (zip_with("../evil/"), "leads out of its folder"),
    "zip: parent folder with blank": (zip_with("jaffe/.. /.. /evil"), "leads out of its folder"),
    "zip: parent folder with dots": (zip_with("jaffe/.../evil"), "leads out of its folder"),
    "zip: absolute": (zip_with("/tmp/evil"), "absolute path"),
    "zip: absolute twice": (zip_with("//host/evil"), "absolute path"),
    "zip: drive": (zip_with("C:/evil"), "has a colon"),
    "zip: drive without slash": (zip_with("C:evil"), "has a colon"),
    "zip: stream": (zip_with("jaffe/README:evil"), "has a colon"),
    "zip: backslash": (zip_with("jaffe\\evil"), "has a backslash"),
    "zip: backslash and parent": (zip_with("..\\evil"), "has a backslash"),
    "zip: network": (zip_with("\\\\host\\evil"), "has a backslash"),
    "zip: null": (zip_with("jaffe/evil\0.tiff"), "no text"),
    "zip: line end": (zip_with("jaffe/evil\n"), "no text"),
    "zip: no name": (zip_with("./."), "without a name"),
    "zip: twice": (zip_with("jaffe/evil", "jaffe/evil"), "is there twice"),
    "zip: twice after dots": (zip_with("jaffe/evil", "jaffe/./evil"), "is there twice"),
    "zip: twice after slashes": (zip_with("jaffe/evil", "jaffe//evil"), "is there twice"),
    "zip: case": (zip_with("jaffe/evil", "jaffe/EVIL"), "is there twice"),
    "zip: case of a folder": (zip_with("jaffe/evil", "JAFFE/evil"), "is there twice"),
    "zip: sharp s": (zip_with("jaffe/stra\u00dfe", "jaffe/STRASSE"), "is there twice"),
    "zip: normal forms": (zip_with(NFC, NFD), "is there twice"),
    "zip: dot at the end": (zip_with("jaffe/evil", "jaffe/evil."), "is there twice"),
    "zip: blank at the end": (zip_with("jaffe/evil", "jaffe/evil "), "is there twice"),
    "zip: file, then folder": (zip_with("jaffe/evil", "jaffe/evil/more"), "is there twice"),
    "zip: folder, then file": (zip_with("jaffe/evil/more", "jaffe/Evil"), "is there twice"),
    "zip: symbolic link": (zip_with(("jaffe/evil", stat.S_IFLNK | 0o777), data=b"/etc"), "symbolic link"),
    "zip: link as a folder": (zip_with(("jaffe/evil/", stat.S_IFLNK | 0o777), data=b"/"), "symbolic link"),
    "zip: pipe": (zip_with(("jaffe/evil", stat.S_IFIFO | 0o644)), "device or a pipe"),
    "zip: device": (zip_with(("jaffe/evil", stat.S_IFBLK | 0o644)), "device or a pipe"),
    "zip: encrypted": (zip_patched(8, "<H", 0x0001), "is encrypted"),
    "zip: encrypted directory": (encrypted_folder, "is encrypted"),
    "zip: deflate64": (zip_patched(10, "<H", 9), "method 9"),
    "zip: bzip2": (bzip2_zip, "method 12"),
    "zip: bomb": (zip_patched(24, "<I", 3 * 10**9), "more than 200 : 1"),
    "zip: lies, holds less": (zip_patched(24, "<I", 6), "damaged"),
    "zip: lies, holds more": (zip_patched(24, "<I", 4), "damaged"),
    "zip: lies, holds much more": (zip_patched(24, "<I", 4, data=bytes(10**6)), "damaged"),
    "zip: lies about where": (zip_patched(42, "<I", 7), "damaged"),
    "tar: parent folder": (tar_with(name="../evil"), "leads out of its folder"),
    "tar: parent folder below": (tar_with(name="jaffe/../../evil"), "leads out of its folder"),
    "tar: absolute": (tar_with(name="/tmp/evil"), "absolute path"),
    "tar: drive": (tar_with(name="C:/evil"), "has a colon"),
    "tar: backslash": (tar_with(name="..\\evil"), "has a backslash"),
    "tar: no text": (tar_with(name="jaffe/\udcff"), "no text"),
    "tar: twice": (tar_with(name="jaffe/readme"), "is there twice"),
    "tar: long name": (tar_with(name=f"{'a/' * 200}../../evil"), "leads out of its folder"),
    "tar: symbolic link": (tar_with(type=tarfile.SYMTYPE, linkname="/etc/passwd"), "symbolic link"),
    "tar: symbolic link inside": (tar_with(type=tarfile.SYMTYPE, linkname="README"), "symbolic link"),
    "tar: hard link": (tar_with(type=tarfile.LNKTYPE, linkname="jaffe/README"), "hard link"),
    "tar: device": (tar_with(type=tarfile.CHRTYPE), "device"),
    "tar: block device": (tar_with(type=tarfile.BLKTYPE), "device"),
    "tar: pipe": (tar_with(type=tarfile.FIFOTYPE), "a pipe"),
    "tar: sparse file": (tar_with(type=tarfile.GNUTYPE_SPARSE), "sparse file"),
    "tar: sparse file by its map": (tar_with_sparse_map, "sparse file"),
    "tar: unknown kind": (tar_with(type=b"Z"), "device"),
    "tar: too large": (tar_with(size=21 * 10**9), "more than 20.0 GB"),
    "tar: bomb": (tar_with(size=2 * 10**9), "more than 100 : 1"),
    "tar: lies, holds less": (tar_with(size=10**6), "damaged or cut short"),
    "tar: header of a gigabyte": (tar_with(type=tarfile.XHDTYPE, size=2**30), "a header of 1073741824 bytes"),
    "tar: long name of a gigabyte": (tar_with(type=tarfile.GNUTYPE_LONGNAME, size=2**30), "a header of"),
    "tar: negative header": (tar_with(type=tarfile.XHDTYPE, size=-512), "damaged"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_unsafe_archive_is_refused_and_leaves_nothing(tmp_path, case, existing):
    build, message = REFUSED[case]
    inside = tmp_path / "deep" / "inside"
    inside.mkdir(parents=True)
    archive, root = inside / "jaffe.zip", inside / "data"
    build(archive)
    if existing:
        (root / "jaffe").mkdir(parents=True)
        (root / "jaffe" / "KA.AN1.39.tiff").write_bytes(b"old")
    before, content = tree(tmp_path), files(tmp_path)
    with pytest.raises(DatasetError) as error:
        add(archive, root, verify=False, replace=existing)
    assert message in str(error.value)
    assert str(archive) in str(error.value)
    assert tree(tmp_path) == before
    assert files(tmp_path) == content
    assert not Path("/tmp/evil").exists()


def test_what_systems_leave_behind_is_passed_over(tmp_path):
    junk = ("jaffe/.DS_Store", "jaffe/._README", "__MACOSX/jaffe/._README", "__MACOSX/jaffe/Icon")
    with archives.opened(zipped(tmp_path / "jaffe.zip", GOOD | dict.fromkeys(junk, b"x"))) as opened:
        assert {member.name for member in opened.members} == set(GOOD)


def test_unpacking_never_writes_over_a_file(tmp_path):
    archive = zipped(tmp_path / "jaffe.zip", GOOD)
    (tmp_path / "here").write_bytes(b"mine")
    with archives.opened(archive) as opened, pytest.raises(FileExistsError):
        archives.unpack(opened, {opened.members[0]: "here"}, tmp_path, progress=False)
    with archives.opened(archive) as opened, pytest.raises(ValueError, match="leads out"):
        archives.unpack(opened, {opened.members[0]: "../here"}, tmp_path / "below", progress=False)
    assert (tmp_path / "here").read_bytes() == b"mine"


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_limits_hold_at_their_edge(tmp_path, root, monkeypatch, pack):
    content = {f"jaffe/KA.AN1.{n}.tiff": b"x" * 10 for n in range(4)}
    archive = pack(tmp_path / "jaffe", content)
    for limit, value, message in [
        ("MAX_MEMBERS", 4, "one of more than 3 members"),
        ("MAX_TOTAL", 40, "more than 39 bytes"),
    ]:
        with monkeypatch.context() as patched:
            patched.setattr(archive_rules, limit, value - 1)
            with pytest.raises(DatasetError, match=message):
                add(archive, root, verify=False)
            assert not root.exists()
            patched.setattr(archive_rules, limit, value)
            with archives.opened(archive) as opened:
                assert len(opened.members) == 4


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_real_bomb_is_refused(tmp_path, root, monkeypatch, pack):
    monkeypatch.setattr(archive_rules, "RATIO_FROM", 10**5)
    monkeypatch.setattr(archive_rules, "TOTAL_RATIO_FROM", 10**5)
    archive = pack(tmp_path / "bomb", {"jaffe/KA.AN1.39.tiff": bytes(10**6)})
    with pytest.raises(DatasetError, match=r"more than (200|100) : 1"):
        add(archive, root, verify=False)
    assert not root.exists()


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_bomb_of_many_small_members_is_refused(tmp_path, root, monkeypatch, pack):
    monkeypatch.setattr(archive_rules, "TOTAL_RATIO_FROM", 10**6)
    content = {f"jaffe/KA.AN1.{n}.tiff": bytes(10**5) for n in range(10)}
    archive = pack(tmp_path / "edge", content)
    with archives.opened(archive) as opened:  # a million bytes: not judged yet
        assert len(opened.members) == 10
    archive = pack(tmp_path / "bomb", content | {"jaffe/README": b"x"})
    with pytest.raises(DatasetError, match=r"'jaffe/README' brings what is unpacked to 1.0 MB .* 100 : 1"):
        add(archive, root, verify=False)
    assert not root.exists()


@pytest.fixture(scope="module")
def zeros(tmp_path_factory):
    """A zip of JAFFE with three members of 99 MB of zeros: 297 MB from some 0.3 MB."""
    path = zipped(tmp_path_factory.mktemp("zeros") / "jaffe.zip", GOOD)
    content = bytes(99 * 10**6)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number in range(3):
            archive.writestr(f"jaffe/zeros{number}", content)
    return path


def test_zeros_beside_a_dataset_are_refused(zeros, root):
    with pytest.raises(DatasetError, match=r"'jaffe/zeros0' makes 99.0 MB out of .*, more than 200 : 1"):
        add(zeros, root)
    assert not root.exists()


def test_dataset_of_an_impossible_size_is_refused(tmp_path, root):
    """Packed not at all, so that no ratio tells; as a file with holes it takes no room here."""
    archive = tmp_path / "jaffe.tar"
    with open(archive, "wb") as file:
        for name, size in [("KA.AN1.39.tiff", 512), *((f"zeros{number}", 99 * 10**6) for number in range(3))]:
            info = tarfile.TarInfo(f"jaffe/{name}")
            info.size = size
            file.write(info.tobuf())
            file.seek(-(-size // 512) * 512, io.SEEK_CUR)
        file.truncate(file.tell() + 1024)
    with pytest.raises(DatasetError, match=r"declares 297\.0 MB for JAFFE, more than 200\.0 MB"):
        add(archive, root)
    assert not root.exists()


def test_limits_of_datasets_count_what_is_taken_and_not_the_rest(tmp_path, root, monkeypatch):
    content = GOOD | {"elsewhere/film": bytes(5000)}
    monkeypatch.setitem(recognise.LIMITS, "jaffe", sum(map(len, GOOD.values())))
    assert add(zipped(tmp_path / "jaffe.zip", content), root, verify=False).files == 2
    monkeypatch.setitem(recognise.LIMITS, "jaffe", sum(map(len, GOOD.values())) - 1)
    with pytest.raises(DatasetError, match="was refused: it declares 9 bytes for JAFFE, more than 8 bytes"):
        add(tmp_path / "jaffe.zip", root, verify=False, replace=True)
    assert set(recognise.LIMITS) == {"ferplus", *datasets.DATASETS} - {"faces"}


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("share", [0.0005, 0.3, 0.6, 0.95, 0.9999])
def test_cut_archive_is_named(tmp_path, root, pack, share):
    archive = pack(tmp_path / "cut", LARGE)
    content = archive.read_bytes()
    archive.write_bytes(content[: int(share * len(content))])
    before = tree(tmp_path)
    with pytest.raises(DatasetError, match="damaged or cut short") as error:
        add(archive, root, verify=False)
    assert str(archive) in str(error.value)
    assert tree(tmp_path) == before


def test_wrong_checksum_names_the_member(tmp_path, root):
    archive = zipped(tmp_path / "jaffe.zip", GOOD, zipfile.ZIP_STORED)
    content = archive.read_bytes()
    archive.write_bytes(content.replace(b"image", b"imagf"))
    with pytest.raises(DatasetError, match=r"in the member 'jaffe/KA.AN1.39.tiff' \(Bad CRC"):
        add(archive, root, verify=False)
    assert not root.exists()


def damage_gzip_checksum(content):
    return content[:-8] + bytes([content[-8] ^ 1]) + content[-7:]


def damage_gzip_stream(content):
    middle = len(content) // 2
    return content[:middle] + bytes(100) + content[middle + 100 :]


@pytest.mark.parametrize("damage", [damage_gzip_checksum, damage_gzip_stream])
def test_damaged_gzip_is_noticed_before_anything_is_written(tmp_path, root, monkeypatch, damage):
    archive = tarred(tmp_path / "jaffe.tgz", LARGE)
    archive.write_bytes(damage(archive.read_bytes()))
    monkeypatch.setattr(adding, "unpack", None)
    with pytest.raises(DatasetError, match="damaged or cut short"):
        add(archive, root)


def test_broken_header_is_not_the_end_of_a_tar(tmp_path, root):
    archive = tarred(tmp_path / "jaffe.tar", GOOD, "w")
    content = archive.read_bytes()
    for broken in (content[:1024] + b"\1" * 512 + content[1536:], content[:1024], content[:1200]):
        archive.write_bytes(broken)
        with pytest.raises(
            DatasetError, match=r"damaged or cut short after the member 'jaffe/KA.AN1.39.tiff'"
        ):
            add(archive, root, verify=False)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (
            b"7z\xbc\xaf\x27\x1c",
            "is a 7z archive. Only zip, tar and tar.gz are read here: unpack it yourself",
        ),
        (b"Rar!\x1a\x07\x01", "is a rar archive"),
        (b"BZh91AY", "is a bzip2 archive"),
        (b"\xfd7zXZ\x00", "is a xz archive"),
        (b"\x28\xb5\x2f\xfd", "is a zstd archive"),
        (b"", "is empty: the download was cut short"),
        (b"\0", "is neither a zip nor a tar archive, nor a CSV file of FER2013 or FER+"),
        (b"one,two\n1,2\n", "is neither a zip nor a tar archive, nor a CSV file of FER2013 or FER+"),
        (b"emotion,pixels\n1,0 0 0\n", "no column Usage. Kaggle's train.csv and test.csv lack the split or"),
        (b'"emotion","pixels"\n', "no column Usage.*add fer2013.csv or icml_face_data.csv"),
        (b"\xef\xbb\xbfpixels\n0 0 0\n", "line 1: no column emotion, Usage. Kaggle's"),
        ("emotion,pixels,Usage\n".encode("utf-16"), "is text in UTF-16"),
        (b"<!DOCTYPE html><title>Log in</title>", "is a web page"),
        (b"\n <HTML lang='en'>", "a login page, say, was saved instead of the archive"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a\n page -->\n<!doctype  HTML>", "is a web page"),
        (b"\x1f\x8b", "damaged or cut short at its start"),
        (b"PK\x03\x04", "damaged or cut short at its start"),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path, root, start, message):
    archive = tmp_path / "jaffe.zip"
    archive.write_bytes(start)
    with pytest.raises(DatasetError, match=message):
        add(archive, root)
    assert not root.exists()


def test_unknown_archive_lists_what_was_looked_for_and_what_is_there(tmp_path, root):
    archive = zipped(tmp_path / "holiday.zip", {f"holiday/{n}.jpg": b"" for n in range(9)})
    with pytest.raises(DatasetError) as error:
        add(archive, root)
    message = str(error.value)
    assert "'holiday/0.jpg'" in message
    assert "and 3 more" in message
    for looks in (
        "fer2013.csv",
        "fer2013new.csv",
        "FERG_DB_256/aia",
        "KA.AN1.39.tiff",
        "Emotion/S005",
        "CK+48/anger",
    ):
        assert looks in message
    with pytest.raises(DatasetError, match="It holds no files"):
        add(zipped(tmp_path / "empty.zip", {}), root)


def test_ambiguous_archives_are_refused(tmp_path, root):
    with pytest.raises(DatasetError, match=r"holds JAFFE and CK\+48"):
        add(zipped(tmp_path / "two.zip", {**GOOD, "CK+48/anger/S010_004_00000017.png": b"image"}), root)
    with pytest.raises(DatasetError, match="holds JAFFE 2 times"):
        add(zipped(tmp_path / "twice.zip", below("a/", GOOD) | below("b/", GOOD)), root)
    inner = tarred(tmp_path / "inner.tar.gz", {"fer2013.tar.gz": b"x"}).read_bytes()
    with pytest.raises(DatasetError, match="none of the official archives"):
        add(zipped(tmp_path / "nested.zip", {"fer2013.tar.gz": inner}), root)
    assert not root.exists()


def test_unsafe_archive_inside_an_archive_is_refused(tmp_path, root):
    tar_with(name="../evil")(tmp_path / "inner.tar.gz")
    archive = zipped(tmp_path / "k.zip", {"fer2013.tar.gz": (tmp_path / "inner.tar.gz").read_bytes()})
    before = tree(tmp_path)
    with pytest.raises(
        DatasetError, match=r"k.zip \(fer2013.tar.gz inside\) was refused: '../evil' leads out"
    ):
        add(archive, root)
    assert tree(tmp_path) == before


def test_disk_space_is_checked_first(tmp_path, root, monkeypatch):
    archive = zipped(tmp_path / "jaffe.zip", {"jaffe/KA.AN1.39.tiff": bytes(5000)})
    usage = archives.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: usage._replace(free=4999))
    with pytest.raises(
        DatasetError, match=r"needs 5.0 kB, but only 5.0 kB are free on the disk of .*data. Make room"
    ):
        add(archive, root, verify=False)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: usage._replace(free=5000))
    assert add(archive, root, verify=False).files == 1


def test_absent_archive_and_unwritable_folder(tmp_path, root):
    with pytest.raises(DatasetNotFoundError, match="does not exist"):
        add(tmp_path / "gone.zip", root)
    with pytest.raises(DatasetNotFoundError, match="is a folder"):
        add(tmp_path, root)
    root.write_bytes(b"a file")
    with pytest.raises(DatasetError, match="could not be added"):
        add(zipped(tmp_path / "jaffe.zip", GOOD), root, verify=False)


def test_sizes_for_people():
    assert [archive_rules.in_bytes(n) for n in (0, 999, 1000, 2_500_000, 20 * 10**9)] == [
        "0 bytes",
        "999 bytes",
        "1.0 kB",
        "2.5 MB",
        "20.0 GB",
    ]


PIECES = st.sampled_from(
    [
        "..",
        ".",
        "",
        "/",
        "a",
        "A",
        "jaffe",
        "KA.AN1.39.tiff",
        "C:",
        "\\",
        "\0",
        " ",
        "é",
        "e\u0301",
        "__MACOSX",
        "._a",
        "~",
    ]
)
NAMES = st.one_of(
    st.lists(PIECES, max_size=6).map("/".join),
    st.text(max_size=12),
    st.lists(PIECES, max_size=6).map("".join),
)
LINKS = st.sampled_from([tarfile.REGTYPE, tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])


def sandbox():
    """Return a temporary folder several levels deep, so that ``..`` has somewhere to go."""
    folder = tempfile.TemporaryDirectory()
    inside = Path(folder.name, "a", "b", "c")
    inside.mkdir(parents=True)
    return folder, Path(folder.name), inside


def add_and_look(top, inside, archive):
    """Add an archive; nothing may appear outside <root>/jaffe, and nothing at all if it is refused."""
    root, before = inside / "data", tree(top)
    try:
        add(archive, root, verify=False)
    except FercoreError:
        assert tree(top) == before
        return False
    appeared = [Path(path) for path in set(tree(top)) - set(before)]
    assert all(path.is_relative_to(root / "jaffe") or path == root for path in appeared)
    assert not any(path.is_symlink() for path in appeared)
    return True


@settings(max_examples=60, deadline=None)
@given(names=st.lists(NAMES, max_size=4))
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_no_name_in_a_zip_leads_outside(names):
    folder, top, inside = sandbox()
    with folder:
        zip_with(*(name.encode("utf-8", "replace").decode() for name in names))(inside / "x.zip")
        add_and_look(top, inside, inside / "x.zip")


@settings(max_examples=60, deadline=None)
@given(members=st.lists(st.tuples(NAMES, LINKS, NAMES), max_size=4))
def test_no_name_or_link_in_a_tar_leads_outside(members):
    folder, top, inside = sandbox()
    with folder:
        with tarfile.open(inside / "x.tar", "w") as archive:
            for name, sort, link in [("jaffe/KA.AN1.40.tiff", tarfile.REGTYPE, ""), *members]:
                info = tarfile.TarInfo(name)
                info.type, info.linkname = sort, link
                archive.addfile(info)
        add_and_look(top, inside, inside / "x.tar")


@settings(max_examples=60, deadline=None)
@given(
    pack=st.sampled_from(["zip", "tar", "tar.gz"]),
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8
    ),
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_damaged_bytes_add_or_raise_the_documented_error(pack, changes):
    folder, top, inside = sandbox()
    with folder:
        path = inside / "x"
        _ = zipped(path, GOOD) if pack == "zip" else tarred(path, GOOD, "w" if pack == "tar" else "w:gz")
        content = bytearray(path.read_bytes()[:3000])  # of the tar: without most of the blank end
        for place, value in changes:
            content[int(place * len(content))] = value
        path.write_bytes(content)
        add_and_look(top, inside, path)
