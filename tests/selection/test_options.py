from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from selection import Pool, select


def pool(n: int = 120) -> Pool:
    rng = np.random.default_rng(0)
    scores = {"perplexity": rng.lognormal(size=n), "el2n": rng.uniform(0, 1.4, n)}
    scores["el2n"][::13] = np.nan
    features = rng.standard_normal((n, 8)).astype(np.float16)
    features[::50] = 0
    return Pool([f"r{i}" for i in range(n)], features, scores=scores)


@pytest.mark.parametrize(
    ("clusters", "seed", "expected"),
    [
        (
            "auto",
            0,
            [0, 2, 9, 11, 26, 29, 34, 36, 41, 45, 46, 50, 57, 66, 78, 80, 82, 90, 100, 104],
        ),
        (3, 0, [0, 11, 20, 23, 39, 46, 50, 53, 54, 66, 67, 76, 80, 90, 91, 93, 100, 104, 114, 119]),
        (
            "auto",
            5,
            [0, 6, 8, 13, 36, 39, 45, 46, 50, 55, 63, 72, 73, 82, 91, 97, 100, 115, 117, 119],
        ),
        (1, 2, [0, 6, 9, 22, 25, 36, 46, 50, 52, 73, 77, 79, 84, 86, 88, 98, 100, 101, 106, 115]),
    ],
)
def test_the_defaults_choose_what_they_always_chose(
    clusters: int | str, seed: int, expected: list[int]
) -> None:
    """Positions as recorded: whatever changes them changes the runs of users."""
    assert select(pool(), 20, clusters=clusters, seed=seed).indices.tolist() == expected


def test_without_scores_the_defaults_choose_what_they_always_chose() -> None:
    bare = Pool(pool().ids, pool().features)
    expected = [0, 2, 16, 22, 30, 32, 34, 46, 48, 50, 62, 66, 71, 80, 82, 89, 97, 98, 100, 111]
    assert select(bare, 20).indices.tolist() == expected


def test_every_combination_meets_its_budget() -> None:
    for scorer, budgets, sampling in product(
        ("max-entropy", "mean-rank", "raw-entropy", "el2n"),
        ("uniform", "size", "score-weighted"),
        ("coverage", "random", "top", "bottom", "middle"),
    ):
        for budget in (0, 1, 37, 120, 500):
            result = select(
                pool(), budget, clusters=4, scorer=scorer, budgets=budgets, sampling=sampling
            )
            assert len(set(result.indices.tolist())) == min(budget, 120)
            scorers = {c["scorer"] for c in result.summary["clusters"][:4]}
            chosen = {"perplexity", "el2n"} if scorer.endswith("entropy") else {scorer}
            assert scorers <= chosen


def test_the_parts_reach_the_clusters() -> None:
    result = select(pool(), 30, clusters=3, scorer="el2n", budgets="size", sampling="top")
    everything = select(pool(), 120, clusters=3, scorer="el2n").table.to_pylist()
    for report in result.summary["clusters"][:3]:
        rows = [row for row in everything if row["cluster"] == report["cluster"]]
        assert abs(report["budget"] - len(rows) / 4) < 1
        rows.sort(key=lambda row: -1.0 if row["score"] is None else row["score"], reverse=True)
        best = {row["position"] for row in rows[: report["budget"]]}
        chosen = result.table.filter(result.table["cluster"].to_numpy() == report["cluster"])
        assert set(chosen["position"].to_pylist()) == best


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scorer": "mean-ranks"}, "unknown scorer 'mean-ranks'; did you mean 'mean-rank'"),
        ({"scorer": "eln2"}, "unknown scorer 'eln2'; did you mean 'el2n'"),
        ({"budgets": "sizes"}, "unknown budgets 'sizes'; did you mean 'size'"),
        ({"sampling": "botom"}, "unknown sampling 'botom'; did you mean 'bottom'"),
        ({"sampling": "zzz"}, "unknown sampling 'zzz'; known: coverage, random, top"),
        ({"budgets": None}, "unknown budgets None"),
    ],
)
def test_unknown_words_are_answered_with_the_nearest(options: dict[str, str], message: str) -> None:
    for method in ("adapt-inf", "random"):
        with pytest.raises(ValueError, match=message):
            select(pool(), 10, method=method, **options)  # type: ignore[arg-type]
