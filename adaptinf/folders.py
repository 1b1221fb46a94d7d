"""Folders that are there whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adaptinf.errors import UserError


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """A folder to write into, that becomes ``out`` when all of it is there.

    Raises:
        UserError: ``out`` is there already.
    """
    if out.exists():
        raise UserError("already there", where=str(out), hint="give another folder to --out")
    draft = out.with_name(f"{out.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
