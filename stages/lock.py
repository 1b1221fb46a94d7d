"""One process at a time in a run folder."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from adaptinf.errors import UserError

_FILE = ".lock"
_TRIES, _PAUSE = 3, 0.05
"""Who only asks whether a folder is held holds it himself for a moment."""


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run folder; the system gives it free when the process ends, however it ends.

    Raises:
        UserError: another process holds it.
    """
    with (run / _FILE).open("w") as file:
        if not _take(file, fcntl.LOCK_EX, _TRIES):
            raise UserError(
                "another process is at work in this run folder",
                where=str(run),
                hint="wait for it, or choose another output_dir",
            )
        yield


def is_locked(run: Path) -> bool:
    """Whether a process holds the run folder, at this moment."""
    try:
        with (run / _FILE).open("r") as file:
            return not _take(file, fcntl.LOCK_SH, 1)
    except FileNotFoundError:
        return False


def _take(file: IO[str], kind: int, tries: int) -> bool:
    for left in reversed(range(tries)):
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if left:
                time.sleep(_PAUSE)
    return False
