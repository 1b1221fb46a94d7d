"""Which rows may be trained on at all, whatever they are like: by licence, and unless withdrawn."""

from __future__ import annotations

from dataclasses import dataclass

from adaptinf.data import reasons
from adaptinf.data.licences import UNKNOWN, plain
from adaptinf.data.rows import RowProblem, printable
from adaptinf.data.sample import Sample


@dataclass(frozen=True, slots=True)
class Admission:
    """Plain names of the ``licences`` that are let in, None: all; uids that are ``withdrawn``."""

    licences: frozenset[str] | None = None
    withdrawn: frozenset[str] = frozenset()

    def check(self, sample: Sample) -> None:
        """Raises ``RowProblem`` ("withdrawn", "licence-kept-out") for a row that is kept out."""
        if sample.uid in self.withdrawn:
            raise RowProblem(reasons.WITHDRAWN, sample.uid)
        if self.licences is not None and plain(sample.licence) not in self.licences:
            raise RowProblem(reasons.LICENCE, printable(sample.licence or UNKNOWN))


EVERY_ROW = Admission()
