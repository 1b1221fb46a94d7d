"""The run folder: whether it can be written, nobody else does, and its file system serves."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from adaptinf.files import write_atomically
from stages.doctor.finding import Finding, Unseen, first_line
from stages.lock import is_locked


def standing(path: Path) -> Path:
    """The nearest folder above ``path``, or itself, that is there."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())


def run_folder(run: Path) -> Iterator[Finding]:
    """Whether the run can be made there. The folder itself is not made."""
    there = standing(run)
    if not there.is_dir():
        seen, todo = f"{there} is a file", "give another output_dir"
        yield Finding("run folder", "fail", seen, todo)
    elif not os.access(there, os.W_OK | os.X_OK):
        todo = "have it belong to you, or give another output_dir"
        yield Finding("run folder", "fail", f"{there} cannot be written", todo)
    elif run.is_dir() and is_locked(run):
        seen = f"another process is at work in {run}"
        yield Finding("run folder", "fail", seen, "wait for it, or give another output_dir")
    else:
        yield Finding("run folder", "ok", f"{run} can be written")


def file_system(run: Path) -> Iterator[Finding]:
    """Whether its file system can lock, sync and rename: what a run that goes on rests on."""
    there = standing(run)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise Unseen("the run folder cannot be written")
    with tempfile.TemporaryDirectory(prefix=".adaptinf-doctor-", dir=there) as scratch:
        for what, tried in (("sync and rename files", _renames), ("lock files", _locks)):
            try:
                tried(Path(scratch))
            except OSError as error:
                seen = f"the file system of {there} does not {what}: {first_line(error)}"
                todo = "give an output_dir on a local disk"
                yield Finding("file system", "fail", seen, todo)
                return
    yield Finding("file system", "ok", "locks, syncs and renames files")


def _renames(folder: Path) -> None:
    """As stages end: files and then a whole folder come under their names at once."""
    draft = folder / "stage.tmp"
    draft.mkdir()
    for text in ("old", "new"):
        write_atomically(draft / "DONE", text)
    draft.rename(folder / "stage")
    if (folder / "stage" / "DONE").read_text() != "new":
        raise OSError("a file that was renamed has its old content")


def _locks(folder: Path) -> None:
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
