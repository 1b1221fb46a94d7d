"""Folders that are there whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from adaptinf.errors import UserError


def is_plain_name(name: object) -> bool:
    """Whether it can name what lies in a folder: text that does not lead out of it."""
    if not isinstance(name, str) or not name or "\0" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and name != "."


@contextmanager
def whole(out: Path, hint: str = "give another folder to --out") -> Iterator[Path]:
    """A folder to write into, that becomes ``out`` when all of it is there.

    Raises:
        UserError: ``out`` is there already.
    """
    if out.exists():
        raise UserError("already there", where=str(out), hint=hint)
    draft = out.with_name(f"{out.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
