from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from selection import Pool, prune, redundancy
from selection.budget import water_fill
from selection.kmeans import cluster_rows


def pool_of(rows: NDArray[np.floating]) -> Pool:
    return Pool([f"r{i}" for i in range(len(rows))], None, embeddings=rows)


def sampled(n: int, d: int = 6, seed: int = 0) -> NDArray[np.float32]:
    """Rows of which about a third are near-duplicates of others, one zero, one NaN."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, d))
    copies = rng.random(n) < 0.3
    noise = rng.standard_normal((int(copies.sum()), d))
    rows[copies] = rows[rng.integers(0, n, int(copies.sum()))] + 0.01 * noise
    rows[n // 3], rows[n // 2, 0] = 0.0, np.nan
    return rows.astype(np.float32)


def kept_by_hand(rows: NDArray[np.float32], budget: int, clusters: int) -> list[int]:
    """Dense cosine matrix of every cluster."""
    clustering = cluster_rows(rows, budget, clusters, seed=0)
    kept: list[int] = []
    shares = water_fill([len(m) for m in clustering.members], budget)
    for cluster, members in enumerate(clustering.members):
        highest = np.full(len(members), -np.inf)
        if cluster != clustering.unusable:
            exact = rows[members].astype(np.float64)
            exact /= np.linalg.norm(exact, axis=1, keepdims=True)
            dense = exact @ exact.T
            for j in range(1, len(members)):
                highest[j] = dense[:j, j].max()
        ranked = sorted(range(len(members)), key=lambda j: (round(float(highest[j]), 9), j))
        kept += members[ranked[: shares[cluster]]].tolist()
    return sorted(kept)


@pytest.mark.parametrize("budget", [0, 1, 17, 150, 299, 300, 400])
@pytest.mark.parametrize("clusters", [1, 12])
def test_pruning_equals_the_dense_form(
    budget: int, clusters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redundancy, "BLOCK_ROWS", 16)
    rows = sampled(300)
    assert prune(pool_of(rows), budget, clusters=clusters).kept.tolist() == kept_by_hand(
        rows, budget, clusters
    )


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 40),
    budget=st.integers(0, 50),
    clusters=st.one_of(st.just("auto"), st.integers(1, 45)),
    values=st.integers(1, 3),
    seed=st.integers(0, 2**32),
)
def test_the_budget_is_met_and_the_table_tells_the_rest(
    n: int, budget: int, clusters: int | str, values: int, seed: int
) -> None:
    rows = np.random.default_rng(seed).integers(-values, values, (n, 2)).astype(np.float16)
    result = prune(pool_of(rows), budget, seed=seed, clusters=clusters)
    assert len(result.kept) == min(budget, n) == result.summary["kept"]
    gone = result.table["position"].to_pylist()
    assert gone == sorted(gone)
    assert sorted([*result.kept.tolist(), *gone]) == list(range(n))
    for row in result.table.to_pylist():
        assert row["id"] == f"r{row['position']}"
        assert (row["nearest"] is None) == (row["similarity"] is None)
        if row["nearest"] is not None:
            assert row["nearest"] < row["position"]
            one, two = rows[[row["nearest"], row["position"]]].astype(float)
            cosine = one @ two / np.linalg.norm(one) / np.linalg.norm(two)
            assert row["similarity"] == pytest.approx(cosine, abs=1e-6)


def test_older_rows_win_over_later_near_duplicates() -> None:
    rows = np.array([[1, 0], [0, 1], [1, 0.01], [0.01, 1], [-1, 0]], np.float32)
    result = prune(pool_of(rows), 3, clusters=1)
    assert result.kept.tolist() == [0, 1, 4]
    assert result.table.drop_columns(["similarity"]).to_pylist() == [
        {"position": 2, "id": "r2", "cluster": 0, "nearest": 0},
        {"position": 3, "id": "r3", "cluster": 0, "nearest": 1},
    ]
    assert result.table["similarity"].to_pylist() == pytest.approx([0.99995] * 2, abs=1e-6)
    assert str(result.table.schema.types) == (
        "[DataType(int64), DataType(string), DataType(int32), DataType(int64), DataType(double)]"
    )


def test_the_first_row_of_a_cluster_is_the_last_to_go() -> None:
    rows = sampled(30)
    assert prune(pool_of(rows[:8]), 1, clusters=1).kept.tolist() == [0]


def test_large_clusters_lose_most() -> None:
    rng = np.random.default_rng(0)
    rows = np.repeat(np.eye(2, 4), [90, 10], axis=0) + 0.01 * rng.standard_normal((100, 4))
    result = prune(pool_of(rows), 40, clusters=2)
    assert sorted((c["size"], c["budget"]) for c in result.summary["clusters"]) == [
        (10, 10),
        (90, 30),
    ]


def test_rows_without_a_direction_keep_their_oldest() -> None:
    rows = np.zeros((5, 2), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = prune(pool_of(rows), 2)
    assert result.kept.tolist() == [0, 1]
    assert result.table["nearest"].null_count == 3
    assert result.summary["excluded"] == {"zero-feature": 5}


def test_features_stand_in_for_embeddings() -> None:
    rows = sampled(50)
    ids = [f"r{i}" for i in range(50)]
    by_feature = prune(Pool(ids, rows), 20)
    assert by_feature.table.equals(prune(pool_of(rows), 20).table)
    other = np.random.default_rng(9).standard_normal((50, 3))
    assert prune(Pool(ids, other, embeddings=rows), 20).table.equals(by_feature.table)
    with pytest.raises(ValueError, match="needs embeddings or features"):
        prune(Pool(ids), 20)


def test_threads_change_no_byte() -> None:
    rows = sampled(3000, d=77)
    results = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            results.append(prune(pool_of(rows), 900, clusters=3))
    assert results[0].kept.tobytes() == results[1].kept.tobytes()
    assert results[0].table.equals(results[1].table)
    assert results[0].summary == results[1].summary
