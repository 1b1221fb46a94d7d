from __future__ import annotations

import json
import math
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from selection import Pool, select
from selection.coverage import stratify
from selection.kmeans import cluster_rows
from selection.scorer import choose_scorer

ODD = st.one_of(
    st.integers(-3, 3).map(float),
    st.floats(-1e3, 1e3),
    st.sampled_from([math.nan, math.inf, -math.inf]),
)


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    """Small pools with tied, zero and non-finite features and scores."""
    n = draw(st.integers(0, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    features = rng.integers(-2, 3, (n, 2)).astype(np.float16)
    features[rng.random(n) < 0.1] = np.nan
    names = draw(st.lists(st.sampled_from(["el2n", "perplexity", "mine"]), unique=True))
    scores = {name: np.array(draw(st.lists(ODD, min_size=n, max_size=n))) for name in names}
    return Pool([f"r{i}" for i in range(n)], features, scores=scores)


def ordinary(n: int = 600, seed: int = 0) -> Pool:
    rng = np.random.default_rng(seed)
    scores = {"perplexity": rng.lognormal(size=n), "el2n": rng.uniform(0, 1.4, n)}
    scores["el2n"][::40] = np.nan
    features = rng.standard_normal((n, 8)).astype(np.float16)
    features[::100] = 0
    return Pool(
        [f"r{i}" for i in range(n)],
        features,
        scores=scores,
        groups=["old" if i < n // 2 else "new" for i in range(n)],
        arrival=np.repeat([1, 2, 5], [n // 6, n // 6, n - 2 * (n // 6)]),
    )


@settings(max_examples=60, deadline=None)
@given(
    pool=pools(),
    method=st.sampled_from(["random", "adapt-inf", "adapt-inf-lite"]),
    clusters=st.one_of(st.just("auto"), st.integers(1, 40)),
    seed=st.integers(0, 2**64),
)
def test_every_budget_is_met_exactly(
    pool: Pool, method: str, clusters: int | str, seed: int
) -> None:
    n = len(pool)
    for budget in [*range(0, n + 1, 1 if n < 8 else 3), n, n + 1, 10 * n + 7]:
        result = select(pool, budget, method=method, seed=seed, clusters=clusters)
        rows = result.indices.tolist()
        assert len(rows) == min(budget, n)
        assert rows == sorted(set(rows))
        assert not rows or (rows[0] >= 0 and rows[-1] < n)
        assert result.table["position"].to_pylist() == rows
        assert result.summary["selected"] == len(rows)
        json.dumps(result.summary, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(pool=pools(), budget=st.integers(0, 35))
def test_clusters_add_up(pool: Pool, budget: int) -> None:
    result = select(pool, budget)
    clusters = result.summary["clusters"]
    assert sum(c["size"] for c in clusters) == len(pool)
    taken = Counter(result.table["cluster"].to_pylist())
    assert all(taken[c["cluster"]] == c["budget"] <= c["size"] for c in clusters)


def test_the_table_agrees_with_its_parts() -> None:
    pool = ordinary()
    result = select(pool, 100, seed=4)
    assert pool.features is not None
    clustering = cluster_rows(pool.features, 100, "auto", 4)
    assert len(clustering.members) == 11
    assert result.table.schema == pa.schema(
        {
            "position": pa.int64(),
            "id": pa.string(),
            "cluster": pa.int32(),
            "scorer": pa.string(),
            "score": pa.float64(),
            "stratum": pa.int32(),
        }
    )
    for row in result.table.to_pylist():
        members = clustering.members[row["cluster"]]
        assert row["position"] in members
        assert row["id"] == f"r{row['position']}"
        if row["cluster"] == clustering.unusable:
            assert (row["scorer"], row["score"], row["stratum"]) == (None, None, None)
            continue
        scores = {name: column[members] for name, column in pool.scores.items()}
        chosen = choose_scorer(scores)
        assert row["scorer"] == chosen.name
        place = members.tolist().index(row["position"])
        score = scores[row["scorer"]][place]
        assert row["score"] == (None if np.isnan(score) else score)
        assert row["stratum"] == stratify(scores[row["scorer"]])[place]
        assert result.summary["clusters"][row["cluster"]]["entropies"] == chosen.entropies


def test_the_summary_counts_what_could_not_be_used() -> None:
    summary = select(ordinary(), 100).summary
    assert summary["excluded"] == {"zero-feature": 6, "non-finite-score:el2n": 15}
    assert (summary["method"], summary["budget"], summary["n"]) == ("adapt-inf", 100, 600)
    assert list(summary["share"]) == ["new", "old"]
    assert sum(summary["share"].values()) == 100
    assert {"cluster", "size", "budget", "scorer", "entropies"} == set(summary["clusters"][0])


@pytest.mark.parametrize("method", ["adapt-inf", "random", "sequential"])
def test_the_same_seed_gives_the_same_bytes_on_one_or_two_threads(method: str) -> None:
    pool = ordinary(5000)
    results = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            results.append(select(pool, 900, method=method, seed=7))
    assert results[0].indices.tobytes() == results[1].indices.tobytes()
    assert results[0].table.equals(results[1].table)
    assert results[0].summary == results[1].summary
    other = select(pool, 900, method=method, seed=8)
    assert other.indices.tobytes() != results[0].indices.tobytes()


def test_the_seed_also_draws_inside_the_clusters() -> None:
    pool = ordinary()
    one, two = (select(pool, 50, seed=seed, clusters=1).indices.tolist() for seed in (0, 1))
    assert one != two


def test_lite_selects_as_adapt_inf_does() -> None:
    pool = ordinary()
    lite, full = (select(pool, 50, method=m) for m in ("adapt-inf-lite", "adapt-inf"))
    assert lite.table.equals(full.table)
    assert lite.summary == {**full.summary, "method": "adapt-inf-lite"}


def test_without_scores_rows_are_drawn_in_clusters_without_repeats() -> None:
    """The released code drew with replacement here, or died for want of scores."""
    rows = np.repeat(np.eye(2, 4, dtype=np.float32), [100, 20], axis=0)
    result = select(Pool([str(i) for i in range(120)], rows), 60, clusters=2)
    assert len(set(result.indices.tolist())) == 60
    assert Counter((result.indices < 100).tolist()) == {True: 40, False: 20}
    for column in ("scorer", "score", "stratum"):
        assert result.table[column].null_count == 60


def test_random_draws_every_row_equally_often_and_nests() -> None:
    pool = Pool([str(i) for i in range(10)])
    counts = np.zeros(10)
    for seed in range(2000):
        counts[select(pool, 3, method="random", seed=seed).indices] += 1
    # 600 expected, standard deviation sqrt(2000 * 0.3 * 0.7) = 20.5; five of them.
    assert np.abs(counts - 600).max() < 103
    draws = [set(select(pool, b, method="random").indices.tolist()) for b in range(11)]
    assert all(small < large for small, large in pairwise(draws))


def test_sequential_takes_only_the_newest_arrival() -> None:
    pool = ordinary()
    some = select(pool, 50, method="sequential")
    assert len(some.indices) == 50
    assert some.indices.min() >= 200
    assert some.summary["excluded"] == {"older-arrival": 200}
    everything = select(pool, 5000, method="sequential")
    assert everything.indices.tolist() == list(range(200, 600))
    assert select(Pool([], arrival=np.array([])), 5, method="sequential").indices.tolist() == []


def test_multitask_takes_all_and_says_so() -> None:
    result = select(ordinary(), 5, method="multitask")
    assert result.indices.tolist() == list(range(600))
    assert result.summary["notes"] == ["budget ignored: multitask takes every row"]
    assert (result.summary["budget"], result.summary["selected"]) == (5, 600)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": -1}, "budget must not be negative"),
        ({"budget": 2.5}, "budget must be a whole number"),
        ({"seed": -1}, "seed must not be negative"),
        ({"method": "adapt-inf"}, "adapt-inf needs features"),
        ({"method": "sequential"}, "sequential needs the arrival step"),
    ],
)
def test_requests_that_cannot_be_met(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select(Pool(["a"]), **{"budget": 1, "method": "random", **options})  # type: ignore[arg-type]


def test_a_memory_mapped_pool_gives_what_an_array_in_memory_gives(tmp_path: Path) -> None:
    pool = ordinary()
    assert pool.features is not None
    np.save(tmp_path / "features.npy", pool.features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r", allow_pickle=False)
    again = select(Pool(pool.ids, mapped, scores=pool.scores), 90)
    assert again.table.equals(select(Pool(pool.ids, pool.features, scores=pool.scores), 90).table)


def test_a_rare_skill_gets_a_cluster_of_its_own() -> None:
    """What clustering is for: 20 of 1,000 rows give at least a cluster's share, not 2 of 100."""
    rng = np.random.default_rng(0)
    rows = np.repeat(np.eye(3, 6), [900, 80, 20], axis=0) + 0.02 * rng.standard_normal((1000, 6))
    pool = Pool([str(i) for i in range(1000)], rows, scores={"el2n": rng.random(1000)})
    for seed in range(20):
        assert (select(pool, 100, seed=seed).indices >= 980).sum() >= 10
