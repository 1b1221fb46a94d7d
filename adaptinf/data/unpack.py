"""Archives that come from outside, unpacked without trusting what they say of themselves."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from adaptinf.errors import UserError
from adaptinf.folders import whole

CHUNK = 1 << 20
MAX_MEMBERS = 5_000_000
MAX_RATIO = 100
"""Images hardly shrink, and text tenfold; what grows more than this is made to fill a disk."""

_SMALL = 1 << 26
"""Bytes up to which any ratio is taken."""


@dataclass(frozen=True, slots=True)
class _Member:
    """A file in an archive: its path, its announced size, and how it is read."""

    path: PurePosixPath
    size: int
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, target: Path, advance: Callable[[int], None] = lambda count: None) -> int:
    """The files of a zip or tar ``archive`` in the new folder ``target``; returns how many.

    The folder appears whole or not at all. Links and devices are refused, as are paths that lead
    out of it, more files than ``MAX_MEMBERS``, two files at one place, and a size of more than
    ``MAX_RATIO`` times the archive's. ``advance`` hears of bytes as they are written.

    Raises:
        UserError: such an archive, a broken or unknown one, no room, or a ``target`` that is there.
    """
    with whole(target, "remove it, to unpack it anew") as draft, _members(archive) as members:
        return _write_all(archive, members, draft, advance)


def _write_all(
    archive: Path, members: Iterator[_Member], draft: Path, advance: Callable[[int], None]
) -> int:
    most = max(_SMALL, MAX_RATIO * archive.stat().st_size)
    written = count = 0
    for member in members:
        count += 1
        if count > MAX_MEMBERS:
            raise _bad(archive, f"more than {MAX_MEMBERS} files")
        if written + member.size > most:
            raise _bad(archive, f"more than {most} bytes, from {archive.stat().st_size}")
        if member.size + _SMALL > shutil.disk_usage(draft).free:
            raise UserError(
                "the disk has no room to unpack it",
                where=str(archive),
                seen=f"{member.path} has {member.size} bytes",
                hint="make room, or give another folder",
            )
        place = draft / member.path
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with member.open() as source, place.open("xb") as file:
                size = _copy(source, file, member.size, advance)
        except FileExistsError:
            raise _bad(archive, f"{member.path} twice") from None
        if size != member.size:
            raise _bad(archive, f"{member.path} has not the {member.size} bytes it announces")
        written += size
    return count


def _copy(source: IO[bytes], file: IO[bytes], size: int, advance: Callable[[int], None]) -> int:
    """Bytes that were there to copy, at most one more than ``size``."""
    left = size + 1
    while left and (chunk := source.read(min(CHUNK, left))):
        file.write(chunk)
        advance(len(chunk))
        left -= len(chunk)
    return size + 1 - left


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[_Member]]:
    broken = (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, RuntimeError, ValueError)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                yield _of_zip(archive, file)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as file:
                yield _of_tar(archive, file)
        else:
            raise _bad(archive, "neither zip nor tar")
    except broken as error:
        raise _bad(archive, str(error) or type(error).__name__) from error


def _of_zip(archive: Path, file: zipfile.ZipFile) -> Iterator[_Member]:
    for info in file.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.is_dir():
            continue
        if kind not in (0, stat.S_IFREG):
            raise _bad(archive, f"{info.filename} is no plain file")
        path = inside(archive, info.filename)
        yield _Member(path, info.file_size, lambda info=info: file.open(info))


def _of_tar(archive: Path, file: tarfile.TarFile) -> Iterator[_Member]:
    for info in file:
        if info.isdir():
            continue
        if not info.isreg():
            raise _bad(archive, f"{info.name} is no plain file")
        path = inside(archive, info.name)
        yield _Member(path, info.size, lambda info=info: file.extractfile(info))


def inside(archive: Path | str, name: str) -> PurePosixPath:
    """The name as a path below the folder that is unpacked into. Raises ``UserError``."""
    path = PurePosixPath(name.replace("\\", "/"))
    bad = path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or "\0" in name
    if bad or not path.parts:
        raise _bad(archive, f"{name!r} leads out of the folder")
    return path


def _bad(archive: Path | str, seen: str) -> UserError:
    hint = "download it again; if it stays so, do not trust its source"
    return UserError("the archive cannot be unpacked", where=str(archive), seen=seen, hint=hint)
