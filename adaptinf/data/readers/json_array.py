"""A JSON array of any size, item by item, through a window that moves along the file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from adaptinf.errors import UserError

_CHUNK = 1 << 20
_LONGEST = 1 << 28
"""Characters that one item may have: far above any row, far below the memory of a machine."""

_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"[-+.eE0-9]*")
_DECODER = json.JSONDecoder()


def items(path: Path) -> Iterator[Any]:
    """The items of the array that a file holds, decoded one by one.

    Memory is that of the largest item. Raises ``UserError`` with file and line: no array, broken
    JSON, an item that is too long, or text that is not UTF-8; the items before it have been given
    by then.
    """
    with path.open(encoding="utf-8-sig") as file:
        window = _Window(file, path)
        if window.sign() != "[":
            raise window.error(
                "expected a JSON array", "if it holds one JSON object per line, name it .jsonl"
            )
        window.take("[")
        if window.sign() == "]":
            window.take("]")
        else:
            yield window.value()
            while window.sign() == ",":
                window.take(",")
                yield window.value()
            window.take("]", "broken JSON: expected a comma, or the end of the array")
        if window.sign():
            raise window.error("broken JSON: something follows the array")


def first_item(path: Path) -> Any:
    """The first item of an array, or the first value where there is none; reads no further.

    Raises ``UserError`` if there is no value.
    """
    with path.open(encoding="utf-8-sig") as file:
        window = _Window(file, path)
        if window.sign() == "[":
            window.take("[")
        if window.sign() in ("", "]"):
            raise window.error("no JSON record here")
        return window.value()


@dataclass(slots=True)
class _Window:
    """The stretch of the text that is in memory, and the place in it that reading has come to."""

    file: TextIO
    path: Path
    text: str = ""
    at: int = 0
    line: int = 1

    def sign(self) -> str:
        """The next character that is not white space; empty at the end of the file."""
        while True:
            space = _SPACE.match(self.text, self.at)
            self.at = space.end() if space else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._more(_CHUNK):
                return ""

    def take(self, sign: str, otherwise: str = "") -> None:
        """Step over a character that must be there."""
        found = self.sign()
        if found != sign:
            raise self.error(otherwise if found else "broken JSON: the file ends too early")
        self.at += 1

    def value(self) -> Any:
        """The value that begins here."""
        self.sign()
        more = _CHUNK
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
                # A number at the edge of the window may go on behind it.
                if not _NUMBER.fullmatch(self.text, end) or not self._more(more):
                    self.at = end
                    return value
            except json.JSONDecodeError as error:
                if len(self.text) - self.at > _LONGEST or not self._more(more):
                    self.at = error.pos
                    raise self.error(f"broken JSON: {error.msg}") from error
                more *= 2  # so that a long item is not decoded again for every chunk
            except (RecursionError, ValueError) as error:
                raise self.error(f"broken JSON: {error}") from error

    def error(self, what: str, hint: str = "") -> UserError:
        """An error at the line that reading has come to."""
        line = self.line + self.text.count("\n", 0, self.at)
        return UserError(what, where=f"{self.path}:{line}", hint=hint)

    def _more(self, count: int) -> bool:
        """Move on by up to ``count`` characters; False at the end of the file."""
        try:
            fresh = self.file.read(count)
        except UnicodeDecodeError as error:
            raise self.error(f"the file cannot be read: {error}") from error
        if not fresh:
            return False
        self.line += self.text.count("\n", 0, self.at)
        self.text = self.text[self.at :] + fresh
        self.at = 0
        return True
