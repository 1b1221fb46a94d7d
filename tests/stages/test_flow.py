"""Rows that reach each stage: hand-counted for every method and refresh."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from config import Recipe
from stages.context import Step
from stages.flow import Rows, StepRows, foretold
from stages.record import DONE
from stages.walk import StepWorks
from stages.work import Counts, Work, is_done


@dataclass
class Look:
    usable: int
    tokens: float = 10.0
    row_bytes: float = 100.0


def recipe(**sections) -> Recipe:
    return Recipe(output_dir=Path("none"), tasks=[{"dataset": "llava"}], **sections)


def step(new: int, pool: int, **sections) -> StepRows:
    return StepRows(recipe(**sections), Rows(new, 10 * new), Rows(pool, 10 * pool))


def work(folder: Path, stage: str) -> Work:
    def perform(draft: Path, progress: object) -> Counts:
        raise AssertionError("nothing may run")

    return Work("1-a", stage, 1, {}, {}, folder / "1-a" / stage, perform)


def finish(work: Work, kept: int, fingerprint: str | None = None) -> None:
    work.folder.mkdir(parents=True)
    record = {"fingerprint": fingerprint or work.fingerprint, "counts": {"in": 0, "kept": kept}}
    (work.folder / DONE).write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("sections", "candidates", "scored", "chosen"),
    [
        ({}, 16, 16, 8),
        ({"prune": {"pool_budget": 40}}, 40, 40, 8),
        ({"featurize": {"max_rows": None}}, 50, 50, 8),
        ({"featurize": {"refresh": "new", "max_rows": None}}, 50, 20, 8),
        ({"featurize": {"refresh": "all", "max_rows": 30}}, 30, 30, 8),
        ({"featurize": {"refresh": "new", "max_rows": 5}}, 5, 5, 5),
    ],
)
def test_feature_pass_and_choice(sections, candidates, scored, chosen):
    rows = step(20, 50, select={"budget": 8}, **sections)
    assert (rows.candidates.number, rows.scored.number) == (candidates, scored)
    assert rows.chosen == Rows(chosen, 10 * chosen)


@pytest.mark.parametrize(
    ("method", "budget", "chosen"),
    [("sequential", 30, 20), ("random", 30, 30), ("random", 90, 50), ("multitask", 30, 50)],
)
def test_methods_without_features(method, budget, chosen):
    rows = step(20, 50, select={"method": method, "budget": budget}, featurize={"max_rows": 5})
    assert rows.chosen.number == chosen


def test_rows_that_the_model_makes_are_trained_on_too():
    sections = {"select": {"method": "random", "budget": 8}, "rehearse": {"rows": 6}}
    assert step(20, 50, **sections).trained == Rows(14, 140.0)
    assert step(50, 50, **sections).trained == Rows(8, 80.0)  # the first step has no older rows


def test_the_pool_grows_and_is_capped():
    walk = [StepWorks(Step(i, "a"), ()) for i in (1, 2, 3)]
    looks = [Look(30), Look(20), Look(5)]
    free = list(foretold(recipe(), looks, walk))
    assert [rows.pool.number for rows in free] == [30, 50, 55]
    assert free[2].pool == Rows(55, 550.0, 5500.0)
    capped = list(foretold(recipe(prune={"pool_budget": 25}), looks, walk))
    assert [rows.pool.number for rows in capped] == [30, 45, 30]
    assert [rows.kept.number for rows in capped] == [25, 25, 25]


def test_finished_stages_count_as_they_were(tmp_path):
    ingest, prune = work(tmp_path, "ingest"), work(tmp_path, "prune")
    walk = [StepWorks(Step(1, "a"), (), ingest=ingest, prune=prune), StepWorks(Step(2, "b"), ())]
    finish(ingest, 28)
    finish(prune, 11)
    first, second = foretold(recipe(), [Look(30), Look(20)], walk)
    assert (first.new.number, first.pool.number) == (28, 28)
    assert second.pool.number == 11 + 20


def test_what_another_recipe_made_does_not_count(tmp_path):
    ingest = work(tmp_path, "ingest")
    finish(ingest, 28, "another")
    assert not is_done(ingest)
    (rows,) = foretold(recipe(), [Look(30)], [StepWorks(Step(1, "a"), (), ingest=ingest)])
    assert rows.new.number == 30
