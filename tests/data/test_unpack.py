"""Archives, honest ones and others."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from adaptinf.data import unpack as unpack_module
from adaptinf.data.unpack import unpack
from adaptinf.errors import UserError

FILES = {"images/1.jpg": b"one", "images/deep/2.jpg": b"two" * 1000, "notes.txt": b""}


def zipped(path: Path, files: dict[str, bytes] = FILES) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("images")
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: dict[str, bytes] = FILES, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def refused(archive: Path, told: str) -> None:
    target = archive.parent / "out"
    before = set(archive.parent.parent.rglob("*"))
    with pytest.raises(UserError, match=told) as caught:
        unpack(archive, target)
    assert str(archive) in str(caught.value)
    assert set(archive.parent.parent.rglob("*")) == before


@pytest.mark.parametrize("make", [zipped, tarred], ids=["zip", "tar"])
def test_files_are_unpacked_into_a_new_folder(tmp_path, make):
    heard = []
    archive = make(tmp_path / "archive")
    assert unpack(archive, tmp_path / "out", heard.append) == 3
    assert contents(tmp_path / "out") == FILES
    assert sum(heard) == sum(map(len, FILES.values()))
    with pytest.raises(UserError, match="already there"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("make", [zipped, tarred], ids=["zip", "tar"])
@pytest.mark.parametrize(
    "name", ["../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:\\evil.txt"]
)
def test_no_path_leads_out(tmp_path, make, name):
    refused(make(tmp_path / "archive", {"good.txt": b"x", name: b"evil"}), "leads out")


def test_links_and_devices_are_refused(tmp_path):
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        archive = tmp_path / "archive.tar"
        with tarfile.open(archive, "w") as file:
            info = tarfile.TarInfo("link")
            info.type, info.linkname = kind, "/etc/passwd"
            file.addfile(info)
        refused(archive, "no plain file")
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as file:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(info, "/etc/passwd")
    refused(tmp_path / "archive.zip", "no plain file")


@pytest.mark.parametrize("make", [zipped, tarred], ids=["zip", "tar"])
def test_bombs_are_refused_before_they_fill_the_disk(tmp_path, make):
    refused(make(tmp_path / "archive", {"zeros": bytes(1 << 27)}), "more than 67108864 bytes")


def test_a_size_that_is_a_lie_is_found_while_writing(tmp_path):
    archive = zipped(tmp_path / "archive", {"a.txt": b"x" * 1000})
    raw = bytearray(archive.read_bytes())
    # The size in the central directory, 24 bytes after its signature.
    at = raw.index(b"PK\x01\x02", raw.index(b"PK\x01\x02") + 1) + 24
    raw[at : at + 4] = (10).to_bytes(4, "little")
    archive.write_bytes(raw)
    refused(archive, "cannot be unpacked")


def test_two_files_at_one_place_are_refused(tmp_path):
    refused(tarred(tmp_path / "archive", {"a/b": b"1", "a/./b": b"2"}), "twice")


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack_module, "MAX_MEMBERS", 2)
    refused(zipped(tmp_path / "archive"), "more than 2 files")


@pytest.mark.parametrize("keep", [0.2, 0.7, 0.99])
@pytest.mark.parametrize("make", [zipped, tarred], ids=["zip", "tar"])
def test_a_truncated_archive_is_one_clear_error(tmp_path, make, keep):
    archive = make(tmp_path / "archive", {f"{i}.bin": bytes(range(256)) * 400 for i in range(9)})
    archive.write_bytes(archive.read_bytes()[: int(keep * archive.stat().st_size)])
    refused(archive, "cannot be unpacked")


def test_no_archive_and_no_room(tmp_path, monkeypatch):
    (tmp_path / "page.html").write_text("<html>quota exceeded</html>")
    refused(tmp_path / "page.html", "neither zip nor tar")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(unpack_module.shutil, "disk_usage", lambda _: usage(10, 9, 1_000))
    refused(zipped(tmp_path / "archive"), "no room")
