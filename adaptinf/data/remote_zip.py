"""A few files out of a zip archive that stays on its server."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import httpx2

from adaptinf.data.unpack import CHUNK, inside
from adaptinf.errors import UserError

_BUFFER = 1 << 18


def take_files(
    client: httpx2.Client,
    url: str,
    headers: Mapping[str, str],
    place_of: Callable[[PurePosixPath], Path | None],
    advance: Callable[[int], None] = lambda count: None,
) -> list[Path]:
    """The files of the archive at ``url`` for which ``place_of`` names a place, written there.

    Only the archive's directory and those files are fetched. A file that is there is left alone.

    Raises:
        UserError: no such archive, a server that gives no parts, or a path that leads out.
    """
    taken = []
    remote = io.BufferedReader(_Remote(client, url, headers), _BUFFER)
    try:
        with zipfile.ZipFile(remote) as archive:
            for info in archive.infolist():
                place = None if info.is_dir() else place_of(inside(url, info.filename))
                if place is None:
                    continue
                if not place.is_file():
                    _take(archive, info, place, advance)
                taken.append(place)
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError) as error:
        raise UserError(
            "the archive cannot be read from afar", where=url, seen=str(error)
        ) from error
    return taken


def _take(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, place: Path, advance: Callable[[int], None]
) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_name(f".{place.name}.part")
    left = info.file_size
    with archive.open(info) as source, draft.open("wb") as file:
        while left > 0 and (chunk := source.read(min(CHUNK, left))):
            file.write(chunk)
            advance(len(chunk))
            left -= len(chunk)
    draft.replace(place)


class _Remote(io.RawIOBase):
    """A file on a server that can be read from any place."""

    def __init__(self, client: httpx2.Client, url: str, headers: Mapping[str, str]) -> None:
        self._client, self._url = client, url
        self._headers = {**headers, "Accept-Encoding": "identity"}
        self._at = 0
        answer = self._get("bytes=0-0")
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
        if not total.isdigit():
            raise UserError(
                "the server gives no parts of a file", where=url, hint="leave out --limit"
            )
        self._size = int(total)

    def _get(self, part: str) -> httpx2.Response:
        try:
            answer = self._client.get(self._url, headers={**self._headers, "Range": part})
        except httpx2.TransportError as error:
            raise UserError(
                f"the download does not go on: {error}",
                where=self._url,
                hint="the same command goes on from here",
            ) from error
        if answer.status_code != 206:
            raise UserError(
                "the server gives no parts of a file",
                where=self._url,
                seen=answer.status_code,
                hint="leave out --limit",
            )
        return answer

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self._size - self._at)
        if count <= 0:
            return 0
        raw = self._get(f"bytes={self._at}-{self._at + count - 1}").content
        buffer[: len(raw)] = raw
        self._at += len(raw)
        return len(raw)
