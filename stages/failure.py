"""``on_failure``: a command of the user's, run once when a run ends with an error."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from adaptinf.console.events import EventLog
from adaptinf.console.text import scrubbed
from adaptinf.disk import full_disk
from adaptinf.errors import UserError
from adaptinf.notice import Notice
from config import Recipe

_SECONDS = 60
_TOLD = ".failure_told"


@contextmanager
def failures_told(recipe: Recipe, notice: Notice) -> Iterator[None]:
    """Inside, an error is recorded in ``events.jsonl`` and told to the user's command; it goes on.

    After a notice, any error but a user's is a part of the end: see ``Notice.listening``.
    """
    try:
        yield
    except Exception as error:
        told = error if isinstance(error, UserError) else full_disk(error)
        if told is None:
            notice.heed()
        message = scrubbed("\n".join(told.lines) if told else f"{type(error).__name__}: {error}")
        with suppress(OSError):
            EventLog(recipe.output_dir / "events.jsonl").write("run_failed", {"error": message})
        tell_failure(recipe.on_failure, recipe.output_dir, message, 2 if told else 1)
        raise


def forget_failures(run: Path) -> None:
    """A new launch begins, of which nothing has been told."""
    (run / _TOLD).unlink(missing_ok=True)


def tell_failure(command: str | None, run: Path, message: str, status: int) -> None:
    """Run the command in a shell, with what happened in its environment.

    ``ADAPTINF_RUN`` is the run folder, ``ADAPTINF_MESSAGE`` the error, ``ADAPTINF_STATUS`` the exit
    status that follows. That it fails, or takes too long, is told and changes nothing. Of several
    ranks that meet an error, the first tells of it.
    """
    if command is None or not _is_first(run):
        return
    environment = {
        **os.environ,
        "ADAPTINF_RUN": str(run.resolve()),
        # No variable can hold a zero byte.
        "ADAPTINF_MESSAGE": message.replace("\0", " "),
        "ADAPTINF_STATUS": str(status),
    }
    try:
        done = subprocess.run(
            command, shell=True, env=environment, stdin=subprocess.DEVNULL, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"on_failure: {error}", file=sys.stderr, flush=True)
        return
    if done.returncode:
        print(f"on_failure ended with {done.returncode}", file=sys.stderr, flush=True)


def _is_first(run: Path) -> bool:
    try:
        (run / _TOLD).touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:
        pass  # on a full disk better twice than never
    return True
