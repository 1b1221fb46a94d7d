"""The waiting line before the model, which speaks to one at a time."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from adaptinf.errors import UserError


class Busy(UserError):
    """The line is full, or has not moved for too long."""


class Line:
    """First come, first served; at most ``length`` wait, none longer than ``patience`` seconds."""

    def __init__(self, length: int = 16, patience: float = 120.0) -> None:
        self._length = length
        self._patience = patience
        self._moved = threading.Condition()
        self._tickets: deque[object] = deque()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait, and have the model for oneself inside.

        Raises:
            Busy: too many wait, or it takes too long.
        """
        ticket = object()
        with self._moved:
            if len(self._tickets) > self._length:
                raise Busy("too many questions at once", hint="ask again in a while")
            self._tickets.append(ticket)
        try:
            self._wait(ticket)
            yield
        finally:
            with self._moved:
                self._tickets.remove(ticket)
                self._moved.notify_all()

    def _wait(self, ticket: object) -> None:
        until = time.monotonic() + self._patience
        with self._moved:
            while self._tickets[0] is not ticket:
                if not self._moved.wait(until - time.monotonic()):
                    raise Busy("the questions before took too long", hint="ask again in a while")
