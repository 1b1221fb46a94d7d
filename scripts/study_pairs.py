"""Pairs of the forecast: what was known of a skill before a step trained, and what it then lost."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

import study_predictors as known
from adaptinf.data.pool import read_pool
from adaptinf.errors import UserError
from adaptinf.evaluation.answered import read_matrix
from adaptinf.features.store import load_gradients, load_scores
from study_predictors import Gradients

WORDINGS = {
    "caption": r"Describe the image\.|List every object in",
    "colour": r"What colour is|Which colour do you see",
    "place": r"Where is the object|In which corner is the object",
    "larger": r"Which number is (larger|smaller)",
}
"""Skills of LLaVA's rows, which name none, by the wording of their first question."""

ONLY_SKILLS = {"minigpt4": "story"}
"""Datasets of one skill, whose rows name none."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A skill before and after a step: predictors by name (NaN: unknown), drop in points."""

    run: str
    seed: int
    step: int
    skill: str
    predictors: Mapping[str, float]
    drop: float

    @property
    def way(self) -> str:
        """The way of the study's plan that the run went."""
        return self.run.rsplit("-", 1)[0]


def pairs_of(folder: Path) -> list[Pair]:
    """A pair for each step from the second on and each benchmark taught before it.

    Of a finished run with features at every step, in a folder named ``WAY-SEED``. Gradients are
    read of one step at a time.

    Raises:
        UserError: a row whose skill cannot be told.
    """
    matrix = read_matrix(folder)
    train = yaml.safe_load((folder / "config.resolved.yaml").read_text())["train"]
    steps = [
        Stored(folder / "steps" / name, number) for number, name in enumerate(matrix.steps[1:], 1)
    ]
    seed = int(folder.name.rsplit("-", 1)[1])
    pairs = []
    for step in steps[1:]:
        before, after = matrix.scores[step.number - 1 : step.number + 1].tolist()
        old = [place for place, at in enumerate(matrix.learned) if 0 < at < step.number]
        taught = {matrix.benchmarks[place].skill: int(matrix.learned[place]) for place in old}
        found = predictors_of(steps[: step.number], taught, train)
        for place in old:
            skill = matrix.benchmarks[place].skill
            predictors = {**found[skill], "level": before[place]}
            drop = before[place] - after[place]
            pairs.append(Pair(folder.name, seed, step.number, skill, predictors, drop))
    return pairs


@dataclass(frozen=True)
class Stored:
    """What a step stored before it trained; ``number`` counts from 1."""

    folder: Path
    number: int

    @cached_property
    def skills(self) -> dict[str, str]:
        """The skill of every row of the pool, by uid."""
        return {row["uid"]: skill_of(row) for row in self._pool}

    @cached_property
    def old(self) -> dict[str, list[str]]:
        """Rows with features that had come before this step, by skill: uids."""
        arrived = {row["uid"]: row["arrived"] for row in self._pool}
        found: dict[str, list[str]] = {}
        for uid in self.log_perplexity:
            if arrived[uid] < self.number:
                found.setdefault(self.skills[uid], []).append(uid)
        return found

    @cached_property
    def log_perplexity(self) -> dict[str, float]:
        """Of every row with features, by uid, in the order of the features."""
        values = np.log(self._scores["perplexity"].to_numpy()).tolist()
        return dict(zip(self._scores["uid"].to_pylist(), values, strict=True))

    @cached_property
    def selected(self) -> list[str]:
        """Uids of the rows that the step is to train on."""
        return pq.read_table(self.folder / "select" / "selection.parquet")["uid"].to_pylist()

    @cached_property
    def selected_skills(self) -> list[str]:
        """The skill of each of them."""
        return [self.skills[uid] for uid in self.selected]

    def gradients(self) -> Gradients:
        """The gradients of all rows with features, read now."""
        units = load_gradients(self.folder / "featurize")
        return Gradients(units, self._scores["gradient_norm"].to_numpy())

    @cached_property
    def _pool(self) -> list[dict[str, Any]]:
        columns = ["uid", "dataset", "skill", "arrived", "turns"]
        return read_pool(self.folder / "ingest" / "pool.parquet").table.select(columns).to_pylist()

    @cached_property
    def _scores(self) -> pa.Table:
        return load_scores(self.folder / "featurize")


def skill_of(row: Mapping[str, Any]) -> str:
    """The skill of a row of the pool: its own, its dataset's, or what its wording tells.

    Raises:
        UserError: none of these tells.
    """
    named = row["skill"] or ONLY_SKILLS.get(row["dataset"])
    if named:
        return str(named)
    question = row["turns"][0]["text"]
    told = [skill for skill, words in WORDINGS.items() if re.search(words, question)]
    if len(told) != 1:
        raise UserError("the skill of a row cannot be told", where=row["uid"], seen=question)
    return told[0]


def predictors_of(
    steps: Sequence[Stored], taught: Mapping[str, int], train: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """All predictors but the level, of each skill and the last of these steps.

    ``taught``: the step that taught each skill; ``train``: the recipe's section. A skill is probed
    by its rows that had come before the step; where pruning left none, its gradient and scores are
    unknown (NaN).
    """
    now = steps[-1]
    gradients = now.gradients()
    place = {uid: number for number, uid in enumerate(now.log_perplexity)}
    selected = gradients.take(np.array([place[uid] for uid in now.selected]))
    pulled = selected.sum()
    shared = {
        "push": known.push(pulled),
        "path": known.path(
            len(now.selected),
            rate=train["learning_rate"],
            epochs=train["epochs"],
            rows_per_step=train["batch_size"] * train["accumulate"],
        ),
    }
    found = {}
    for skill, learned in taught.items():
        share, since = known.replay([step.selected_skills for step in steps], skill)
        found[skill] = {**dict.fromkeys(known.PREDICTORS, math.nan), **shared}
        found[skill] |= {"share": share, "since": since}
        if rows := now.old.get(skill):
            probe = gradients.take(np.array([place[uid] for uid in rows])).sum()
            row_conflict, opposed = known.row_conflicts(selected, probe)
            drift, level = _familiarity(now, steps[learned], rows)
            found[skill] |= {
                **{"conflict": known.conflict(pulled, probe), "row_conflict": row_conflict},
                **{"opposed": opposed, "drift": drift, "log_perplexity": level},
            }
    return found


def _familiarity(now: Stored, then: Stored, rows: Sequence[str]) -> tuple[float, float]:
    """Of those rows that were scored at both steps."""
    both = [uid for uid in rows if uid in then.log_perplexity]
    values = [np.array([step.log_perplexity[uid] for uid in both]) for step in (now, then)]
    return known.familiarity(*values)
