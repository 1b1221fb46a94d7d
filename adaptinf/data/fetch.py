"""One file from a server to disk: in ranges, resumable, checked before it has its name."""

from __future__ import annotations

import email.utils
import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import httpx2

from adaptinf.errors import UserError

_RESERVE = 1 << 28
_TRIES = 8
PATIENCE = 600.0
"""Seconds that a server may ask us to wait at one time."""

AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""Statuses with which a server asks to come again."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A file on a server: ``size`` in bytes and ``sha256`` in hex where they are known."""

    url: str
    size: int | None = None
    sha256: str | None = None


@dataclass(slots=True)
class Fetcher:
    """Downloads files; what is there already is only checked.

    ``advance`` hears of bytes as they arrive, those found on disk included. ``sleep`` waits.
    """

    client: httpx2.Client
    headers: Mapping[str, str] = field(default_factory=dict)
    advance: Callable[[int], None] = lambda count: None
    sleep: Callable[[float], None] = time.sleep

    def fetch(self, remote: Remote, target: Path) -> Path:
        """``remote`` at ``target``; called again after a kill it goes on at the byte.

        What has come is in ``NAME.part``, and which version of the file it is of in
        ``NAME.part.json``. Where the server has another version by now, it begins anew.

        Raises:
            UserError: the server refuses, the connection fails time after time, the disk is full,
                or the file is not the one that was announced; then no part of it stays.
        """
        if target.is_file():
            return self._checked(remote, target)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = _Part.beside(target)
        self.advance(part.length)
        tries = 0
        while True:
            before, asked = part.length, None
            try:
                if self._get(remote, part):
                    break
                failed = "the connection ended before the file did"
            except httpx2.TransportError as error:
                failed = str(error) or type(error).__name__
            except LaterError as later:
                failed, asked = str(later), later.seconds
            tries = 0 if part.length > before else tries + 1
            wait = 2.0**tries if asked is None else asked
            if tries >= _TRIES or wait > PATIENCE:
                raise UserError(
                    f"the download does not go on: {failed}",
                    where=remote.url,
                    seen=f"{part.length} bytes so far, {wait:.0f} s to wait",
                    hint="the same command goes on from here",
                )
            self.sleep(wait)
        self._verify(remote, part.file)
        part.become(target)
        return target

    def _get(self, remote: Remote, part: _Part) -> bool:
        """One request for what is missing; whether the file is whole after it."""
        have = part.length
        asked = {"Range": f"bytes={have}-", "If-Range": part.tag} if have and part.tag else {}
        # Encoded in transit, its bytes would not be those that are counted.
        with self.client.stream(
            "GET", remote.url, headers={**self.headers, "Accept-Encoding": "identity", **asked}
        ) as answer:
            if answer.status_code in AGAIN:
                raise LaterError(answer)
            if answer.status_code == 416 and part.total is not None and have == part.total:
                return True
            if answer.status_code not in (200, 206, 416):
                raise _refusal(remote, answer)
            if answer.status_code != 206 or _begins_at(answer) != have:
                self.advance(-have)
                part.clear()
                have = 0
            if answer.status_code != 200 and not have:
                return False
            part.note(answer, have)
            _need_room(part.file.parent, part.total, have, remote)
            self._take(answer.iter_raw(), part)
        return part.total is None or part.length >= part.total

    def _take(self, chunks: Iterator[bytes], part: _Part) -> None:
        with part.file.open("ab") as file:
            for chunk in chunks:
                try:
                    _write(file, chunk)
                except OSError as error:
                    raise UserError(
                        f"cannot be written: {error.strerror}",
                        where=str(part.file),
                        hint="make room; the same command goes on from here",
                    ) from error
                self.advance(len(chunk))

    def _checked(self, remote: Remote, target: Path) -> Path:
        """A file that was there before, if it is the one that is wanted."""
        self._verify(remote, target, keep=True)
        self.advance(target.stat().st_size)
        return target

    def _verify(self, remote: Remote, file: Path, *, keep: bool = False) -> None:
        size = file.stat().st_size
        wrong = None
        if remote.size is not None and size != remote.size:
            wrong = f"{size} bytes, where {remote.size} were announced"
        elif remote.sha256 is not None:
            with file.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != remote.sha256.lower():
                wrong = f"SHA-256 {found}, where {remote.sha256} was announced"
        if wrong is None:
            return
        if not keep:
            _Part(file, file.with_name(f"{file.name}.json")).clear()
        raise UserError(
            "not the file that was announced",
            where=str(file) if keep else remote.url,
            seen=wrong,
            hint="remove it" if keep else "try again; if it stays so, the source has changed",
        )


@dataclass(slots=True)
class _Part:
    """What has come of a file, and of which version of it."""

    file: Path
    about: Path

    @classmethod
    def beside(cls, target: Path) -> _Part:
        file = target.with_name(f"{target.name}.part")
        return cls(file, file.with_name(f"{file.name}.json"))

    @property
    def length(self) -> int:
        return self.file.stat().st_size if self.file.is_file() else 0

    @property
    def tag(self) -> str | None:
        return self._told().get("tag")

    @property
    def total(self) -> int | None:
        return self._told().get("total")

    def _told(self) -> dict[str, Any]:
        try:
            told = json.loads(self.about.read_text())
        except (OSError, ValueError):
            return {}
        return told if isinstance(told, dict) else {}

    def note(self, answer: httpx2.Response, have: int) -> None:
        """Keep how long the whole is, and a strong name of its version."""
        length = answer.headers.get("Content-Length")
        tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        weak = tag is not None and tag.startswith("W/")
        told = {"tag": None if weak else tag, "total": have + int(length) if length else None}
        self.about.write_text(json.dumps(told))

    def clear(self) -> None:
        """Begin anew."""
        self.file.unlink(missing_ok=True)
        self.about.unlink(missing_ok=True)

    def become(self, target: Path) -> None:
        """The whole file under its own name."""
        if not self.file.exists():  # a file of no bytes
            self.file.touch()
        self.file.replace(target)
        self.about.unlink(missing_ok=True)


def _write(file: BinaryIO, chunk: bytes) -> None:
    file.write(chunk)
    file.flush()


class LaterError(Exception):
    """The server asks to come again, maybe after so many ``seconds``."""

    def __init__(self, answer: httpx2.Response, told: str = "") -> None:
        super().__init__(f"the server answers {answer.status_code}{told and f': {told}'}")
        self.seconds = _retry_after(answer.headers.get("Retry-After"))


def _retry_after(text: str | None) -> float | None:
    """Seconds to wait: a number of them, or a date (RFC 9110, 10.2.3)."""
    if text is None:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - time.time())


def _begins_at(answer: httpx2.Response) -> int | None:
    """The first byte of a part of a file, from ``Content-Range: bytes 100-199/200``."""
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _refusal(remote: Remote, answer: httpx2.Response) -> UserError:
    hints = {
        401: "log in (hf auth login) and accept the dataset's terms on its page",
        403: "log in (hf auth login) and accept the dataset's terms on its page",
        404: "the source has moved; look for it on its page",
        410: "the source has moved; look for it on its page",
    }
    hint = hints.get(answer.status_code, "try again later")
    what = f"the server answers {answer.status_code} {answer.reason_phrase}".rstrip()
    return UserError(what, where=remote.url, hint=hint)


def _need_room(folder: Path, total: int | None, have: int, remote: Remote) -> None:
    free = shutil.disk_usage(folder).free
    if total is not None and total - have + _RESERVE > free:
        raise UserError(
            "the disk has no room for it",
            where=str(folder),
            seen=f"{(total - have) / 1e9:.1f} GB to come, {free / 1e9:.1f} GB free",
            hint=f"make room for {remote.url}, or give another folder",
        )
