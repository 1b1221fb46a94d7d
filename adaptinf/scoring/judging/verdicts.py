"""The file of a judge's verdicts: what was paid for once is neither asked nor decided again."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from adaptinf.errors import UserError
from adaptinf.scoring.items import Prompt

LONGEST = 16_000
"""Characters of a reply that are kept; what is read stands in its first line."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """A judge's reply to a prompt.

    ``judge`` is the model that was asked for, ``answered_by`` the name that it gave itself, and
    ``requests`` how often it was asked until it could be read, or was given up.
    """

    key: str
    benchmark: str
    question_id: str
    judge: str
    answered_by: str
    requests: int
    reply: str


def key_of(judge: str, prompt: Prompt) -> str:
    """What a ruling goes by: a digest of the judge's name and of all that it is sent."""
    asked = json.dumps([judge, prompt.messages(), prompt.reminder, prompt.tokens])
    return hashlib.sha256(asked.encode()).hexdigest()


@dataclass(slots=True)
class VerdictFile:
    """Rulings by their keys, and the JSON Lines file that they are appended to, one by one.

    A line that holds none, as a full disk may leave it, is passed over, and asked for again.
    """

    path: Path
    rulings: dict[str, Ruling] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def read(cls, path: Path) -> VerdictFile:
        """What is there; nothing where there is no file.

        Raises:
            UserError: the file cannot be read, or holds all kinds of things, but no verdict.
        """
        found = cls(path)
        try:
            lines = path.read_bytes().splitlines() if path.exists() else []
        except OSError as error:
            raise UserError("the file cannot be read", where=str(path), seen=str(error)) from error
        for line in lines:
            ruling = _ruling(line)
            if ruling is not None:
                found.rulings.setdefault(ruling.key, ruling)
        if lines and not found.rulings:
            hint = "choose another with --verdicts"
            raise UserError("no file of verdicts", where=str(path), hint=hint)
        return found

    @property
    def judges(self) -> list[str]:
        """The names of all who have ruled here."""
        return sorted({ruling.judge for ruling in self.rulings.values()})

    def add(self, ruling: Ruling) -> None:
        """Keep a ruling, on disk before anything else. Raises ``UserError``."""
        line = (json.dumps(asdict(ruling)) + "\n").encode()
        with self._lock:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a+b", buffering=0) as file:
                    file.write(_cut(file) + line)
            except OSError as error:
                raise UserError(
                    "a verdict cannot be kept", where=str(self.path), seen=str(error)
                ) from error
            self.rulings.setdefault(ruling.key, ruling)


def _cut(file: Any) -> bytes:
    """A line break, where the last line has none."""
    end = file.seek(0, 2)
    if not end:
        return b""
    file.seek(end - 1)
    return b"" if file.read(1) == b"\n" else b"\n"


def _ruling(line: bytes) -> Ruling | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, Mapping) or set(row) != set(Ruling.__dataclass_fields__):
        return None
    ruling = Ruling(**row)
    texts = (getattr(ruling, name) for name in row if name != "requests")
    if not all(isinstance(text, str) and len(text) <= LONGEST for text in texts):
        return None
    return ruling if type(ruling.requests) is int else None
