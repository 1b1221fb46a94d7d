"""Rehearsal: questions of earlier rows about new images, for the model itself to answer.

Trained on its own answers beside the new rows, a model goes on answering as it did, and neither an
old image nor an old answer is shown to it again (pseudo-rehearsal, Robins 1995; own answers as
targets, Learning without Forgetting, arXiv 1606.09282).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice

import numpy as np
from numpy.typing import NDArray

from adaptinf.data.pool import PoolTable
from adaptinf.data.sample import IMAGE_MARK, Sample, Turn, sample_digest


def questions_for(pool: PoolTable, arrived: int, number: int, seed: int) -> list[Sample]:
    """``number`` questions, rows of a user turn alone, for the step at which rows ``arrived``.

    Each is the first of an older row, with images of new rows. Every older dataset has an equal
    part of them, and in it every skill; a row is asked again, about other images, only once all of
    its skill were. Without images among the new rows only questions without one are asked, and
    without older rows none.
    """
    came, rng = pool.numbers("arrived"), np.random.default_rng(seed)
    sizes = pool.table["images"].combine_chunks().value_lengths().to_numpy()
    seeing = rng.permutation(np.flatnonzero((came == arrived) & (sizes > 0)))
    old = np.flatnonzero((came < arrived) & ((sizes == 0) | bool(len(seeing))))
    rows = pool.samples(_spread(pool, old, number, rng))
    wanted = sum(row.turns[0].text.count(IMAGE_MARK) for row in rows)
    shown = pool.samples(seeing[:wanted])
    images = cycle([image for row in shown for image in row.images])
    asked = []
    for place, row in enumerate(rows):
        turn = row.turns[0]
        own = tuple(islice(images, turn.text.count(IMAGE_MARK)))
        asked.append(
            Sample(
                uid=f"rehearsed:{arrived}:{place}",
                digest="",
                source_id=row.uid,
                dataset=shown[0].dataset if own else row.dataset,
                licence=None,
                task=row.task,
                skill=row.skill,
                images=own,
                turns=(turn,),
                source=f"rehearsed/{row.dataset}",
            )
        )
    return asked


def answered(question: Sample, answer: str, image_digests: Sequence[str]) -> Sample:
    """The row that a question and its answer make."""
    turns = (*question.turns, Turn("assistant", answer))
    return replace(question, turns=turns, digest=sample_digest(turns, image_digests))


def _spread(
    pool: PoolTable, old: NDArray[np.int64], number: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Positions [number] of rows, as equal in number by dataset, and by skill in it, as can be."""
    groups: dict[str, dict[str | None, list[int]]] = {}
    datasets, skills = pool.strings("dataset"), pool.strings("skill")
    for row in old.tolist():
        groups.setdefault(datasets[row], {}).setdefault(skills[row], []).append(row)
    parts = [
        np.resize(rng.permutation(rows), size)
        for by_skill, share in zip(groups.values(), _parts(number, len(groups)), strict=True)
        for rows, size in zip(by_skill.values(), _parts(share, len(by_skill)), strict=True)
    ]
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])


def _parts(number: int, parts: int) -> list[int]:
    """A number as a sum of so many that differ by one at most, the larger first."""
    return [number // parts + (place < number % parts) for place in range(parts)]
