"""What was planted in a pool is found again: skills by clusters, near-copies by pruning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from selection import Pool, prune, select
from selection.semdedup import duplicates
from tests.selection.planted import planted


@pytest.mark.parametrize("d", [64, 256])
def test_planted_skills_are_recovered(d: int) -> None:
    """12 skills of sizes 1 / rank, cosines to their directions of 0.71: in all of 8 seeds."""
    agreements = []
    for seed in range(8):
        sample = planted(3000, 12, d, 1.0, seed)
        pool = Pool([str(i) for i in range(3000)], sample.rows)
        result = select(pool, 3000, "adapt-inf", clusters=12, seed=seed)
        clusters = result.table["cluster"].to_numpy()
        agreements.append(adjusted_rand_score(sample.skills, clusters))
    assert sum(agreement >= 0.95 for agreement in agreements) == 8, agreements


@dataclass(frozen=True)
class Doubled:
    """Rows [n, d], and which of them are near-copies of an earlier one."""

    rows: NDArray[np.float16]
    copies: NDArray[np.bool_]

    def recall(self, removed: NDArray[np.int64]) -> float:
        return float(self.copies[removed].sum() / self.copies.sum())

    def false_drops(self, removed: NDArray[np.int64]) -> float:
        return float((~self.copies[removed]).sum() / (~self.copies).sum())


def doubled(seed: int, skew: float) -> Doubled:
    """2,400 rows of 12 skills (cosines of 0.5 within one) and 600 copies, later than their rows.

    A copy has a cosine of 0.995 to its row on average.
    """
    rng = np.random.default_rng([seed, 1])
    rows = planted(2400, 12, 128, 1.0, seed, skew).rows.astype(np.float64)
    source = rng.integers(0, 2400, 600)
    lengths = np.linalg.norm(rows[source], axis=1, keepdims=True)
    copies = rows[source] + 0.1 * lengths / np.sqrt(128) * rng.standard_normal((600, 128))
    order = np.argsort(
        np.concatenate([np.arange(2400.0), rng.uniform(source, 2400)]), kind="stable"
    )
    return Doubled(np.concatenate([rows, copies])[order].astype(np.float16), order >= 2400)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rule", ["semdedup", "greedy"])
def test_planted_copies_are_found_by_a_threshold(rule: str, seed: int) -> None:
    pool = doubled(seed, skew=1.0)
    removed = duplicates(pool.rows, 0.95, rule)
    assert pool.recall(removed) >= 0.99
    assert pool.false_drops(removed) <= 0.01


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("clusters", "skew"), [(1, 1.0), (12, 0.0)])
def test_planted_copies_are_found_by_a_budget(clusters: int, skew: float, seed: int) -> None:
    """As many rows stay as there are originals.

    Clusters share the budget by water filling, large ones lose most. So the copies are those that
    go where there is one cluster, or where all have as many originals.
    """
    pool = doubled(seed, skew)
    result = prune(
        Pool([str(i) for i in range(3000)], embeddings=pool.rows), 2400, clusters=clusters
    )
    removed = result.table["position"].to_numpy()
    assert pool.recall(removed) >= 0.99
    assert pool.false_drops(removed) <= 0.01
