"""The first look at a pool: whose features are computed, and what a second step looks at."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from adaptinf.features.glances import GlanceStore, glanced_rows
from stages.glance import CANDIDATES, spread

MOST = 20


def planted(sizes: list[int], seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Rows around as many directions as there are sizes, each named by its direction."""
    rng = np.random.default_rng(seed)
    centres = np.linalg.qr(rng.standard_normal((32, len(sizes))))[0].T
    rows = np.repeat(np.arange(len(sizes)), sizes)
    vectors = centres[rows] + 0.02 * rng.standard_normal((len(rows), 32))
    return [f"{skill}-{i}" for i, skill in enumerate(rows)], vectors.astype(np.float16)


@pytest.mark.parametrize("draw_seed", range(5))
def test_candidates_are_of_all_kinds_in_proportion(draw_seed):
    sizes = [2000, 300, 60, 30]
    uids, vectors = planted(sizes)
    chosen = spread(uids, vectors, 100, seed=1, draw_seed=draw_seed)
    counts = Counter(uids[i][0] for i in chosen)
    assert len(chosen) == 100
    # A random hundred would miss the rarest kind every fourth time.
    assert all(abs(counts[str(k)] - 100 * n / sum(sizes)) <= 3 for k, n in enumerate(sizes))
    assert counts["3"] >= 1


@pytest.mark.parametrize("most", [10, 30])
def test_mostly_the_same_old_rows_are_candidates_again(most):
    uids, vectors = planted([40, 20])
    first = {uids[i] for i in spread(uids, vectors, most, seed=1, draw_seed=0)}
    again = {uids[i] for i in spread(uids, vectors, most, seed=2, draw_seed=0)}
    assert len(first & again) >= 0.7 * most
    grown, more = planted([40, 20, 30])
    later = {grown[i] for i in spread(grown, more, most, seed=2, draw_seed=0)}
    old = later & set(uids)
    assert 0.3 * most < len(old) < most
    assert len(old & first) >= 0.7 * len(old)
    others = {uids[i] for i in spread(uids, vectors, most, seed=1, draw_seed=1)}
    assert len(first & others) < 0.7 * most


def test_a_store_that_was_killed_goes_on_where_it_was(tmp_path):
    batches = [np.array([4, 1]), np.array([0]), np.array([3])]
    whole = np.arange(10, dtype=np.float16).reshape(5, 2)
    for kill in (0, 1, 3):
        folder = tmp_path / str(kill)
        store = GlanceStore(folder, 5, 2, batches)
        for number in store.arrays.pending[:kill]:
            store.write(number, whole[batches[number]])
        again = GlanceStore(folder, 5, 2, batches)
        assert again.arrays.pending == [0, 1, 2][kill:]
        for number in again.arrays.pending:
            again.write(number, whole[batches[number]])
        known = np.array([-1, -1, 0, -1, -1])
        other = tmp_path / f"{kill}-old"
        old = GlanceStore(other, 1, 2, [np.array([0])])
        old.write(0, whole[2:3])
        old.finish(["c"])
        again.rows_from(other, known)
        again.finish(list("abcde"))
        assert np.array_equal(again.vectors, whole)
        assert glanced_rows(folder) == list("abcde")
        assert not (folder / "done.npy").exists()


def test_a_capped_run_scores_so_many_rows_and_looks_at_each_once(
    recipe_dict: dict,
    runner_of: Callable,
    tmp_path: Path,
    contents: Callable[[Path], dict[str, str]],
) -> None:
    recipe = recipe_dict | {
        "tasks": [{"dataset": "llava"}, {"dataset": "m3it"}],
        "featurize": {"dim": 64, "batch_tokens": 512, "max_rows": MOST, "refresh": "new"},
        "prune": {"pool_budget": None},
        "evaluate": {"benchmarks": ["caption"], "limit": 2},
        "train": {"batch_size": 4},
    }
    runner, run, killed = runner_of(recipe), tmp_path / "run", tmp_path / "killed"
    runner(run)
    looked = {}
    for step in ("1-llava", "2-m3it"):
        folder = run / "steps" / step
        pool = pq.read_table(folder / "ingest" / "pool.parquet")["uid"].to_pylist()
        candidates = pq.read_table(folder / "glance" / CANDIDATES)["uid"].to_pylist()
        scored = pq.read_table(folder / "featurize" / "scores.parquet")["uid"].to_pylist()
        chosen = pq.read_table(folder / "select" / "selection.parquet")["uid"].to_pylist()
        assert len(pool) > MOST
        assert candidates == scored == [uid for uid in pool if uid in set(candidates)]
        assert len(scored) == MOST
        assert set(chosen) <= set(scored)
        vectors = np.load(folder / "glance" / "glances-00000.npy", allow_pickle=False)
        looked[step] = dict(zip(pool, vectors, strict=True))
    first, second = looked.values()
    assert first.keys() < second.keys()
    assert all(np.array_equal(vector, second[uid]) for uid, vector in first.items())
    manifest = json.loads((run / "steps/2-m3it/featurize/manifest.json").read_text())
    assert manifest["settings"]["scored_now"] < MOST
    for kill in ("1/glance:2", "2/glance:1", "2/featurize:1"):
        assert runner(killed, kill=kill).returncode == -signal.SIGKILL, kill
    runner(killed)
    assert contents(killed) == contents(run)
    # Killed after its last write, before the draft became the stage's folder.
    for stage in ("glance", "featurize"):
        folder = killed / "steps" / "2-m3it" / stage
        record = json.loads((folder / "DONE").read_text())
        (folder / "DONE").unlink()
        (folder / "BEGUN").write_text(record["fingerprint"])
        folder.rename(folder.with_name(f"{stage}.tmp"))
    runner(killed)
    assert contents(killed) == contents(run)
