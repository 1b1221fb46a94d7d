"""The notice that a machine is about to be taken away, and how work ends on it in good order."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from adaptinf.errors import UserError

GRACE_SECONDS = 8.0
"""How long work that has been given notice may take to reach a place where it can stop.

Under the ten seconds that ``docker stop`` leaves; Slurm and Kubernetes leave thirty.
"""


class Interrupted(BaseException):
    """Work stops here, with all that it has done kept; not an error, so nothing catches it."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Whether this process has been asked, by SIGTERM, to come to an end."""

    _given: threading.Event = field(default_factory=threading.Event)

    def heed(self) -> None:
        """Called where what is done is kept: go on, or raise ``Interrupted``."""
        if self._given.is_set():
            raise Interrupted

    @contextmanager
    def listening(self, words: str) -> Iterator[Notice]:
        """Inside, SIGTERM gives notice instead of ending the process.

        Work that does not come to such a place in time, as a long clustering, is ended with
        ``words`` and status 0 all the same: a run goes on from a kill at any moment. An error that
        comes after the notice, as of a data worker that the same signal has ended, is taken for a
        part of the end.
        """

        def given(number: int, frame: FrameType | None) -> None:
            if not self._given.is_set():
                self._given.set()
                watch.start()

        watch = threading.Timer(GRACE_SECONDS, _end, [words])
        watch.daemon = True
        before = signal.signal(signal.SIGTERM, given)
        try:
            yield self
        except Exception as error:
            if self._given.is_set() and not isinstance(error, UserError):
                raise Interrupted from error
            raise
        finally:
            watch.cancel()
            signal.signal(signal.SIGTERM, before)


def _end(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
    os._exit(0)
