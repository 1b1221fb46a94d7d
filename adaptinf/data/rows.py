"""Rows on their way in: as a reader found them, and as they leave when they cannot be used."""

from __future__ import annotations

from dataclasses import dataclass

from adaptinf.data.sample import Turn


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row of a dataset file, unchecked.

    ``row`` counts from 0 in the order in which the source is read. ``problem`` is a reason of
    ``adaptinf.data.reasons`` when the row could not be read at all, and ``detail`` says more;
    ``notes`` are reasons that do not keep a row out. ``part`` is that of the dataset which the row
    comes from; ``licence`` and ``source`` are what the row itself tells of these.
    """

    row: int
    source_id: str
    images: tuple[str, ...] = ()
    turns: tuple[Turn, ...] = ()
    task: str | None = None
    skill: str | None = None
    problem: str | None = None
    detail: str = ""
    notes: tuple[str, ...] = ()
    part: str | None = None
    licence: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Remark:
    """What is to be said of a row: why it does not enter the pool, or what is odd about it."""

    source_id: str
    dataset: str
    row: int
    reason: str
    detail: str = ""


class RowProblem(Exception):
    """Raised inside a reader or a check: this row, and only this row, cannot be used."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


def printable(text: str) -> str:
    """``text`` with what UTF-8 cannot hold replaced: JSON may carry lone surrogates."""
    return text.encode("utf-8", "replace").decode("utf-8")
