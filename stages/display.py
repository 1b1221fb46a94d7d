"""Rows to look at before anything is trained, for the page that shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from adaptinf.console import count_text
from adaptinf.data.collator import Collator
from adaptinf.data.masks import masked
from adaptinf.data.pool import PoolTable
from adaptinf.data.sample import Sample
from adaptinf.report.gallery import thumbnail
from adaptinf.report.rows import PICTURES, ShownRow, ShownSet

ROWS = 8


def shown_set(
    name: str,
    pool: PoolTable,
    collator: Collator,
    *,
    read: int,
    problems: Mapping[str, int],
    notes: Mapping[str, int],
    rows: int = ROWS,
) -> ShownSet:
    """What was found among the first ``read`` rows of a dataset, and some rows of its ``pool``.

    Those shown are spread over the pool, and have images where there are such.
    """
    shortest, middle, longest = lengths(pool)
    facts = {
        "read": f"{count_text(read)} rows",
        "usable": count_text(len(pool)),
        "tokens": f"{shortest} to {longest}, {middle} in the middle",
    }
    chosen = pool.samples(_spread(pool, rows))
    return ShownSet(
        name, facts, problems, notes, [_shown_row(sample, collator) for sample in chosen]
    )


def lengths(pool: PoolTable) -> tuple[int, int, int]:
    """Tokens of the shortest row of a pool, of the one in the middle, and of the longest."""
    found = sorted(pool.strings("n_tokens"))
    return found[0], found[len(found) // 2], found[-1]


def first_seeing(pool: PoolTable) -> Sample:
    """The first row with an image, or the first."""
    return pool.sample(next(iter(_seeing(pool)), 0))


def _seeing(pool: PoolTable) -> list[int]:
    return [position for position, images in enumerate(pool.strings("images")) if len(images)]


def _spread(pool: PoolTable, rows: int) -> list[int]:
    """Positions from the beginning to the end, of rows with images as far as there are."""
    seeing = _seeing(pool)
    among = seeing if len(seeing) >= rows else range(len(pool))
    rows = min(rows, len(among))
    return [among[len(among) * number // rows] for number in range(rows)]


def _shown_row(sample: Sample, collator: Collator) -> ShownRow:
    pieces = masked(collator, sample)
    root: Path = collator.image_root(sample.dataset)
    names: Sequence[str] = sample.images[:PICTURES]
    return ShownRow(
        source_id=sample.source_id,
        pictures=[thumbnail(root, name) for name in names],
        more=len(sample.images) - len(names),
        pieces=pieces,
        tokens=sum(piece.tokens for piece in pieces),
        skill=sample.skill,
    )
