"""One process at a time in a run folder."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adaptinf.errors import UserError


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run folder; the system gives it free when the process ends, however it ends.

    Raises:
        UserError: another process holds it.
    """
    with (run / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                "another process is at work in this run folder",
                where=str(run),
                hint="wait for it, or choose another output_dir",
            ) from None
        yield
