"""``logs/rank-N.log``: what a process of a run has to say besides the console's lines.

Warnings of Python and of libraries, stages that begin and end, and errors with their traceback;
starts are appended. One process speaks on the console, rank 0. What others would print goes into
their logs, but for the one line that says why they end.
"""

from __future__ import annotations

import faulthandler
import io
import logging
import os
import platform
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any

from adaptinf.console.text import scrubbed
from adaptinf.disk import full_disk
from adaptinf.distributed import Ranks
from adaptinf.errors import UserError
from adaptinf.notice import Interrupted

FOLDER = "logs"
LOG = logging.getLogger("adaptinf.run")

_FORM = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_APART = ("transformers", "huggingface_hub", "datasets")
"""Libraries with handlers of their own. Most hand nothing on to the root logger, but transformers
does where ``CI`` is set."""


def log_file(run: Path, rank: int) -> Path:
    """Where a rank's log is."""
    return run / FOLDER / f"rank-{rank}.log"


@contextmanager
def logged(run: Path, ranks: Ranks) -> Iterator[None]:
    """Inside, this process keeps its log; ranks that do not lead are silent elsewhere.

    Of a rank that does not lead an error ends the process with status 2 (a user's) or 1, and one
    line on the console.
    """
    from transformers.utils import logging as theirs

    theirs.get_logger()  # has its level and its handler from here on
    file = log_file(run, ranks.rank)
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = _Handler(file, encoding="utf-8")
    handler.setFormatter(_Form(_FORM))
    with _attached(handler, leads=ranks.leads):
        who = f"rank {ranks.rank} of {ranks.size}, process {os.getpid()} on {platform.node()}"
        LOG.info("start: %s, adaptinf %s", who, version("adaptinf"))
        try:
            yield
        except Interrupted:
            LOG.info("stopped by notice")
            if not ranks.leads:
                raise SystemExit(0) from None
            raise
        except Exception as error:
            LOG.exception("ended by an error")
            if ranks.leads:
                raise
            raise SystemExit(_told(error, ranks, file)) from error
        LOG.info("end")


def _told(error: Exception, ranks: Ranks, file: Path) -> int:
    """Say on the console why this rank ends; the exit status."""
    told = error if isinstance(error, UserError) else full_disk(error)
    lines = told.lines if told else [f"{type(error).__name__}: {error}".splitlines()[0]]
    where = "" if told else f" (see {file})"
    for line in lines:
        print(f"rank {ranks.rank}: {scrubbed(line)}{where}", file=sys.__stderr__, flush=True)
    return 2 if told else 1


class _Handler(logging.FileHandler):
    """A log that cannot be written, as on a full disk, stops nothing and says nothing."""

    @property
    def place(self) -> int:
        """The open file, for what speaks when Python no longer can."""
        return self._open().fileno() if self.stream is None else self.stream.fileno()

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing."""


class _Form(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return scrubbed(super().format(record))


class _Said(io.TextIOBase):
    """Standard output or error of a process that has no voice: whole lines go into the log."""

    def __init__(self) -> None:
        self._begun = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            if line.strip():
                LOG.info("%s", line)
        return len(text)


@contextmanager
def _attached(handler: _Handler, *, leads: bool) -> Iterator[None]:
    """Inside, all that speaks by ``logging`` or ``warnings`` speaks to the handler, too."""
    with ExitStack() as stack:
        root, before = logging.getLogger(), (LOG.level, LOG.propagate)
        # What the root would print without a handler, the leader prints still.
        spoken = [logging.lastResort] if leads and logging.lastResort and not root.handlers else []
        stack.callback(handler.close)
        for one in (handler, *spoken):
            root.addHandler(one)
            stack.callback(root.removeHandler, one)
        # What the run itself writes down is for no console.
        LOG.setLevel(logging.INFO)
        LOG.propagate = False
        LOG.addHandler(handler)
        stack.callback(LOG.removeHandler, handler)
        stack.callback(setattr, LOG, "propagate", before[1])
        stack.callback(LOG.setLevel, before[0])
        for name in _APART:
            _hear(logging.getLogger(name), handler, stack)
        _hear_warnings(stack, leads=leads)
        if not faulthandler.is_enabled():
            faulthandler.enable(handler.place)
            stack.callback(faulthandler.disable)
        if not leads:
            stack.enter_context(redirect_stdout(_Said()))
            stack.enter_context(redirect_stderr(_Said()))
        yield


def _hear(library: logging.Logger, handler: logging.Handler, stack: ExitStack) -> None:
    """Warnings of a library with handlers of its own; what it prints stays what it was."""
    if not library.handlers:
        return
    stack.callback(setattr, library, "propagate", library.propagate)
    library.propagate = False
    for one in library.handlers:
        stack.callback(one.setLevel, one.level)
        one.setLevel(max(one.level, library.level))
    stack.callback(library.setLevel, library.level)
    library.setLevel(min(library.level, logging.WARNING))
    library.addHandler(handler)
    stack.callback(library.removeHandler, handler)


def _hear_warnings(stack: ExitStack, *, leads: bool) -> None:
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        LOG.warning("%s: %s", category.__name__, message)
        if leads:
            shown(message, category, *rest, **more)

    warnings.showwarning = show
    stack.callback(setattr, warnings, "showwarning", shown)
