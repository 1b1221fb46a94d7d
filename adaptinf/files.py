"""Files that are there whole or not at all, and those of others that hold an object."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from adaptinf.errors import UserError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    draft = path.with_name(path.name + ".draft")
    try:
        with draft.open("wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        draft.unlink(missing_ok=True)  # a full disk needs its room
        raise
    draft.replace(path)


def read_object(file: Path) -> dict[str, Any]:
    """A JSON object; {} where there is no file.

    Raises:
        UserError: the file is something else.
    """
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError("not a JSON object", where=str(file))
    return found
