"""The selection stage on made-up features: what it asks of the library, writes and depends on."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from adaptinf.data.pool import PoolRow, PoolTable, write_pool
from adaptinf.data.sample import Sample, Turn
from adaptinf.errors import UserError
from config import Recipe
from stages.context import Step
from stages.manager import open_context
from stages.select import select_work, settings_at
from stages.walk import plan_walk
from stages.work import Silent, Work
from tests.stages.test_prune import write_store

TASKS = ("llava", "m3it", "mantis")
ROWS = 20


class Killing(Silent):
    def advance(self, rows: int) -> None:
        raise KeyboardInterrupt


@dataclass
class World:
    """Three steps of 20 new rows each, whose features lie around four directions."""

    root: Path

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        uids = [f"{task}:{n:02d}" for task in TASKS for n in range(ROWS)]
        vectors = np.eye(4, 8)[rng.integers(0, 4, len(uids))] + 0.1 * rng.normal(size=(60, 8))
        for step in (1, 2, 3):
            known = uids[: step * ROWS]
            (self.root / f"{step}-ingest").mkdir(parents=True)
            (self.root / f"{step}-features").mkdir()
            rows = PoolTable.from_rows(pool_row(uid) for uid in known)
            write_pool(self.root / f"{step}-ingest" / "pool.parquet", rows)
            write_store(self.root / f"{step}-features", known, vectors[: len(known)])

    def works(self, run: str, tasks: int = 3, **settings: Any) -> list[Work]:
        """The selections of all steps of a recipe of so many tasks."""
        select = {"features": "embeddings", "budget": 12, "clusters": 4, **settings}
        names = [{"dataset": name} for name in TASKS[:tasks]]
        recipe = Recipe(output_dir=self.root / run, tasks=names, select=select)
        steps = [Step(number, name) for number, name in enumerate(TASKS[:tasks], 1)]
        context = SimpleNamespace(recipe=recipe, run=recipe.output_dir, steps=steps)
        works: list[Work] = []
        for step in steps:
            ingest = self._upstream(f"{step.index}-ingest")
            features = self._upstream(f"{step.index}-features")
            first = works[0] if works else None
            works.append(select_work(context, step, ingest, features, first))
        return works

    def _upstream(self, name: str) -> Work:
        return SimpleNamespace(folder=self.root / name, fingerprint=name)


def pool_row(uid: str) -> PoolRow:
    task = uid.partition(":")[0]
    turns = (Turn("user", "q"), Turn("assistant", uid))
    sample = Sample(uid, uid, uid, task, None, None, None, (), turns)
    return PoolRow(sample, 1 + TASKS.index(task), 5)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("select"))


def run_all(works: list[Work]) -> list[dict[str, Any]]:
    """The summaries of all steps."""
    for work in works:
        work.run(Silent())
    return [json.loads((work.folder / "summary.json").read_text()) for work in works]


def contents(works: list[Work]) -> list[dict[str, bytes]]:
    return [{f.name: f.read_bytes() for f in work.folder.iterdir()} for work in works]


def test_new_centroids_at_each_step_are_saved(world: World) -> None:
    works = world.works("new")
    run_all(works)
    centroids = [np.load(work.folder / "centroids.npy", allow_pickle=False) for work in works]
    assert [c.shape for c in centroids] == [(4, 8)] * 3
    assert {str(c.dtype) for c in centroids} == {"float32"}
    assert len({c.tobytes() for c in centroids}) == 3


def test_the_first_centroids_are_used_to_the_end(world: World) -> None:
    works = world.works("first", centroids="first")
    run_all(works)
    saved = [(work.folder / "centroids.npy").read_bytes() for work in works]
    assert saved[0] == saved[1] == saved[2]
    assert [set(work.inputs) for work in works] == [
        {"ingest", "featurize"},
        {"ingest", "featurize", "centroids"},
        {"ingest", "featurize", "centroids"},
    ]
    assert works[2].inputs["centroids"] == works[0].fingerprint


def test_a_cluster_keeps_its_number_with_the_first_centroids(world: World) -> None:
    works = world.works("numbers", centroids="first", budget=60)
    run_all(works)
    tables = [pq.read_table(work.folder / "selection.parquet").to_pylist() for work in works]
    first, last = ({row["uid"]: row["cluster"] for row in table} for table in tables[::2])
    assert len(first) == ROWS
    assert {uid: last[uid] for uid in first} == first


def test_a_killed_selection_ends_with_the_same_bytes(world: World) -> None:
    works = world.works("whole", centroids="first", clusters="elbow", old={"least": 0.5})
    run_all(works)
    again = world.works("killed", centroids="first", clusters="elbow", old={"least": 0.5})
    for work in again:
        with pytest.raises(KeyboardInterrupt):
            work.run(Killing())
        assert work.done() is None
        work.run(Silent())
    assert contents(again) == contents(works)


def test_an_appended_task_leaves_earlier_selections(world: World) -> None:
    """Also when it comes with a share of its own."""
    shares = {"centroids": "first", "floors": {"llava": 0.1}}
    two = world.works("appended", tasks=2, **shares)
    three = world.works("appended", **shares | {"floors": {"llava": 0.1, "mantis": 0.5}})
    assert [w.fingerprint for w in three[:2]] == [w.fingerprint for w in two]
    run_all(two)
    assert all(work.done() for work in three[:2])
    assert three[2].done() is None


@pytest.mark.parametrize(
    ("changed", "steps"),
    [
        ({"clusters": "elbow"}, {1, 2, 3}),
        ({"clusters": "silhouette"}, {1, 2, 3}),
        ({"scorer": "el2n"}, {1, 2, 3}),
        ({"budgets": "size"}, {1, 2, 3}),
        ({"sampling": "top"}, {1, 2, 3}),
        ({"centroids": "first"}, {2, 3}),
        ({"old": {"most": 0.5}}, {2, 3}),
        ({"floors": {"m3it": 0.5}}, {2, 3}),
        ({"ceilings": {"llava": 0.5}}, {2, 3}),
        ({"floors": {"mantis": 0.5}}, {3}),
    ],
)
def test_settings_change_the_fingerprint_where_they_matter(
    world: World, changed: dict[str, Any], steps: set[int]
) -> None:
    plain, other = world.works("x"), world.works("x", **changed)
    pairs = enumerate(zip(plain, other, strict=True), 1)
    assert {n for n, (one, two) in pairs if one.fingerprint != two.fingerprint} == steps


def test_shares_are_kept_from_the_second_step_on(world: World) -> None:
    first, *later = run_all(world.works("old", old={"least": 0.75, "most": 0.75}))
    assert first["share"] == {"llava": 12}
    assert later[0]["share"] == {"llava": 9, "m3it": 3}
    assert later[1]["share"]["mantis"] == 3
    floors = {"floors": {"m3it": 0.5}, "ceilings": {"mantis": 0.25, "llava": 0.25}}
    first, second, third = run_all(world.works("floors", **floors))
    assert first["share"] == {"llava": 12}
    assert second["share"] == {"llava": 3, "m3it": 9}
    assert third["share"]["m3it"] >= 6
    assert max(third["share"]["llava"], third["share"]["mantis"]) <= 3


def test_skills_are_those_that_rows_name_or_else_their_tasks(tmp_path: Path) -> None:
    world = World(tmp_path)
    rows = [pool_row(f"{task}:{n:02d}") for task in TASKS for n in range(ROWS)]
    named = [
        replace(row, sample=replace(row.sample, skill="count" if place % ROWS == 0 else None))
        for place, row in enumerate(rows)
    ]
    write_pool(tmp_path / "3-ingest" / "pool.parquet", PoolTable.from_rows(named))
    third = world.works("skills", method="sequential", skill_floor=0.2)[2]
    third.run(Silent())
    found = pq.read_table(third.folder / "selection.parquet")
    skills = [
        s or d for s, d in zip(*(found[k].to_pylist() for k in ("skill", "dataset")), strict=True)
    ]
    # ceil(0.2 x 12) of each task; of the skill, which all have, the newest row alone.
    assert Counter(skills) == {"llava": 3, "m3it": 3, "mantis": 5, "count": 1}


def test_the_rules_of_the_clusters_reach_the_library(world: World) -> None:
    settings = {"scorer": "el2n", "budgets": "size", "clusters": "silhouette"}
    works = world.works("rules", budget=16, **settings)
    summaries = run_all(works)
    for summary in summaries[1:]:
        assert summary["k_curve"]["rule"] == "silhouette"
        assert len(summary["clusters"]) == summary["k_curve"]["chosen"] == 4
        assert {cluster["scorer"] for cluster in summary["clusters"]} == {"el2n"}
        shares = [16 * c["size"] / summary["n"] - c["budget"] for c in summary["clusters"]]
        assert max(map(abs, shares)) < 1


def test_shares_that_no_rows_can_give_are_the_users_mistake(world: World) -> None:
    second = world.works("short", budget=30, floors={"m3it": 0.9})[1]
    with pytest.raises(UserError, match=r"select: group 'm3it' must give at least 27 of 30 rows"):
        second.run(Silent())


def test_what_holds_at_the_first_step() -> None:
    shares = {"floors": {"llava": 0.2}, "ceilings": {"llava": 0.5}}
    tasks = [{"dataset": name} for name in TASKS]
    select = Recipe(output_dir=".", tasks=tasks, select={"centroids": "first", **shares}).select
    plain = Recipe(output_dir=".", tasks=tasks).select
    assert settings_at(select, ["llava"]) == plain
    assert settings_at(select, ["llava", "m3it"]) == select


def test_the_walk_hands_the_first_centroids_on(recipe_dict: dict, tmp_path: Path) -> None:
    tasks = [{"dataset": name} for name in ("llava", "mantis", "m3it")]
    select = {"budget": 12, "centroids": "first"}
    changed = {"output_dir": tmp_path, "tasks": tasks, "select": select}
    _, *walk = plan_walk(open_context(Recipe(**recipe_dict | changed)))
    first, *later = [works.select for works in walk]
    assert "centroids" not in first.inputs
    assert [work.inputs["centroids"] for work in later] == [first.fingerprint] * 2
