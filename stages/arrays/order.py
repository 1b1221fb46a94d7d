"""What is asked of a selection on one's own arrays, and how it is read from the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adaptinf.errors import UserError


@dataclass(frozen=True, slots=True)
class Files:
    """Where things lie; ``features`` and ``embeddings`` may be a file, a folder or a glob."""

    out: Path
    features: str | None = None
    embeddings: str | None = None
    scores: Path | None = None
    rows: Path | None = None
    centroids: Path | None = None
    save_centroids: Path | None = None

    @property
    def read(self) -> tuple[str, ...]:
        """All that is read."""
        given = (self.features, self.embeddings, self.scores, self.rows, self.centroids)
        return tuple(str(path) for path in given if path is not None)

    @property
    def summary(self) -> Path:
        """``OUT.summary.json``, whatever OUT ends in."""
        return self.out.with_name(self.out.name + ".summary.json")


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns are called: None means the usual names, no ``scores`` all numeric ones.

    ``row_numbers``: rows are named by their number, whatever ids they have.
    """

    ids: str | None = None
    row_numbers: bool = False
    groups: str | None = None
    arrival: str | None = None
    scores: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """The options of :func:`selection.select`, by the same names."""

    method: str = "adapt-inf"
    seed: int = 0
    clusters: int | str = "auto"
    scorer: str = "max-entropy"
    budgets: str = "uniform"
    sampling: str = "coverage"
    floors: Mapping[str, float] = field(default_factory=dict)
    ceilings: Mapping[str, float] = field(default_factory=dict)
    old: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """All of it; ``explain`` are ids of rows."""

    budget: int
    files: Files
    columns: Columns = Columns()
    rules: Rules = Rules()
    explain: tuple[str, ...] = ()


def whole_or_word(text: str) -> int | str:
    """The number that the text is, or the text."""
    return int(text) if text.isascii() and text.isdecimal() else text


def limits(option: str, texts: Sequence[str]) -> dict[str, float]:
    """Shares by group from ``GROUP=SHARE``. Raises UserError for anything else, or one twice."""
    shares: dict[str, float] = {}
    for text in texts:
        group, mark, share = text.rpartition("=")
        if not mark:
            raise UserError("expected GROUP=SHARE", where=option, seen=text, hint="as in llava=0.1")
        if group in shares:
            raise UserError(f"the group {group!r} stands here twice", where=option, seen=text)
        shares[group] = _share(option, share, text)
    return shares


def share_range(option: str, text: str | None) -> tuple[float, ...] | None:
    """Least and largest share from ``MIN,MAX``. Raises UserError for anything else."""
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 2:
        raise UserError("expected MIN,MAX", where=option, seen=text, hint="as in 0.1,0.5")
    return tuple(_share(option, part, text) for part in parts)


def _share(option: str, number: str, text: str) -> float:
    try:
        share = float(number)
    except ValueError:
        raise UserError("a share must be a number", where=option, seen=text) from None
    if not 0 <= share <= 1:
        raise UserError("a share must lie between 0 and 1", where=option, seen=text)
    return share
