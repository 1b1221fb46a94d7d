from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from selection import METHODS, Pool, Selection, select
from selection.replay import age_groups
from stages.arrays.explanation import Explanation, explain_rows, nearest_chosen
from stages.arrays.order import Files, Order, Rules

FILES = Files(Path("unused.parquet"))


def pool_of(n: int = 90, seed: int = 1) -> Pool:
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, 5)).astype(np.float32)
    features[[4, 40]] = 0
    features[60, 1] = np.inf
    scores = {"el2n": rng.uniform(0, 1, n).round(1), "perplexity": rng.lognormal(size=n)}
    scores |= {name: rng.uniform(size=n) for name in ("entropy", "grand", "image_grounding")}
    scores["perplexity"][::13] = np.nan
    return Pool(
        [f"r{row}" for row in range(n)],
        features,
        scores=scores,
        groups=["a" if row % 3 else "b" for row in range(n)],
        arrival=np.repeat([1, 2], [n // 2, n - n // 2]),
    )


def explained(pool: Pool, budget: int, rules: Rules) -> tuple[Selection, list[Explanation]]:
    selection = select(
        pool,
        budget,
        rules.method,
        rules.seed,
        rules.clusters,
        scorer=rules.scorer,
        budgets=rules.budgets,
        sampling=rules.sampling,
        floors=rules.floors,
        ceilings=rules.ceilings,
        old=rules.old,
    )
    order = Order(budget, FILES, rules=rules)
    return selection, explain_rows(pool, selection, order, range(len(pool)))


def brute_strata(scores: np.ndarray) -> list[int]:
    """0..49 between the finite scores of rank floor(n / 20) from either end, 50 NaN, 51 beyond."""
    finite = sorted(score for score in scores if np.isfinite(score))
    if not finite:
        return [50] * len(scores)
    low, high = finite[len(finite) // 20], finite[-1 - len(finite) // 20]
    strata = []
    for score in scores:
        if not np.isfinite(score):
            strata.append(50)
        elif not low <= score <= high:
            strata.append(51)
        elif low == high:
            strata.append(0)
        else:
            strata.append(min(49, int(round((score - low) / (high - low) * 50, 6))))
    return strata


def brute_clusters(pool: Pool, selection: Selection, parts: list[list[int]]) -> list[int]:
    """Cluster of each row by the largest cosine; of each part in turn, unusable rows last."""
    labels, start = [-1] * len(pool), 0
    k = len(selection.centroids)
    for part in parts:
        odd = False
        for row in part:
            feature = pool.features[row].astype(np.float64)
            if not np.isfinite(feature).all() or not feature.any():
                labels[row], odd = start + k, True
            else:
                labels[row] = start + int(np.argmax(selection.centroids @ feature))
        start += k + odd
    return labels


def brute_reason(
    name: str, row: Explanation, chosen: set[int], members: set[int], same: set[int]
) -> str:
    if not members & chosen:
        return f"the budget leaves no row to {name}"
    if members <= chosen:
        return f"{name} gives all its rows"
    counts = f"{len(chosen & same)} of {len(same)}"
    if row.stratum == 51:
        return (
            f"trimmed: its {row.scorer} is at an end of {name}; {counts} trimmed rows were needed"
        )
    if row.stratum == 50:
        return f"no {row.scorer}: {counts} such rows of {name} drawn at random"
    if not chosen & same:
        return f"the budget leaves no row to stratum {row.stratum} of {name}"
    full = "" if row.chosen else "stratum full: "
    return f"{full}{counts} rows of stratum {row.stratum} of {name} drawn at random"


SHARES = {
    "free": Rules(clusters=4),
    "floor that binds": Rules(clusters=4, floors={"b": 0.6}),
    "floor that does not": Rules(clusters=4, floors={"b": 0.01}),
    "old": Rules(clusters=4, old=(0.8, 0.9)),
    "one cluster": Rules(clusters=1, ceilings={"a": 0.2}),
    "fixed scorer": Rules(clusters=4, scorer="el2n"),
    "ensemble": Rules(clusters=4, scorer="mean-rank", budgets="size"),
    "few": Rules(clusters=30),
}


@pytest.mark.parametrize("name", SHARES)
def test_adapt_inf_is_explained_as_brute_force_sees_it(name: str) -> None:
    pool, rules = pool_of(), SHARES[name]
    selection, rows = explained(pool, 24, rules)
    groups, parts = (), [list(range(len(pool)))]
    if name in ("floor that binds", "one cluster", "old"):
        groups = age_groups(pool) if rules.old else pool.groups
        parts = [[r for r in parts[0] if groups[r] == g] for g in sorted(set(groups))]
    clusters = brute_clusters(pool, selection, parts)
    reports = selection.summary["clusters"]
    chosen = set(selection.indices.tolist())
    units = pool.features.astype(np.float64)
    with np.errstate(invalid="ignore"):
        units /= np.linalg.norm(units, axis=1, keepdims=True)
    usable = np.isfinite(units).all(axis=1)
    for row in rows:
        at = row.position
        assert (row.id, row.chosen, row.group) == (f"r{at}", at in chosen, pool.groups[at])
        report = reports[clusters[at]]
        assert (row.cluster, row.cluster_size, row.cluster_budget, row.scorer) == (
            report["cluster"],
            report["size"],
            report["budget"],
            report["scorer"],
        )
        members = [r for r in range(len(pool)) if clusters[r] == clusters[at]]
        assert len(members) == report["size"]
        if row.scorer in pool.scores:
            column = pool.scores[row.scorer][members]
            strata = brute_strata(column)
            assert row.stratum == strata[members.index(at)]
            finite = np.isfinite(pool.scores[row.scorer][at])
            assert row.score == (pool.scores[row.scorer][at] if finite else None)
            same = {r for r, s in zip(members, strata, strict=True) if s == row.stratum}
            name = f"cluster {row.cluster}"
            if len(parts) > 1:
                name += f" of group {groups[at]!r}"
            expected = brute_reason(name, row, chosen, set(members), same)
            assert row.reason == expected
        others = [r for r in sorted(chosen - {at}) if usable[r]]
        if not usable[at]:
            assert row.neighbour is None
            assert row.reason.startswith(("zero feature: ", "non-finite feature: "))
            continue
        cosines = np.round(units[others] @ units[at], 9)
        assert row.neighbour.id == f"r{others[int(cosines.argmax())]}"
        assert row.neighbour.cosine == pytest.approx(cosines.max(), abs=1e-8)


@pytest.mark.parametrize("name", SHARES)
def test_chosen_rows_are_explained_as_the_table_has_them(name: str) -> None:
    selection, rows = explained(pool_of(), 24, SHARES[name])
    for known in selection.table.to_pylist():
        row = rows[known["position"]]
        assert row.chosen
        assert (row.id, row.cluster, row.scorer, row.score, row.stratum) == (
            known["id"],
            known["cluster"],
            known["scorer"],
            known["score"],
            known["stratum"],
        )


def test_reasons_of_a_pool_worked_out_by_hand() -> None:
    # One cluster; el2n 0..1 in ten rows: strata 0, 5, 11, 16, 22, 27, 33, 38, 44, 49, one row each.
    scores = {"el2n": np.arange(10) / 9}
    pool = Pool([f"r{row}" for row in range(10)], np.ones((10, 2), np.float16), scores=scores)
    _, rows = explained(pool, 3, Rules(clusters=1))
    assert [row.stratum for row in rows] == [0, 5, 11, 16, 22, 27, 33, 38, 44, 49]
    for row in rows:
        if row.chosen:
            assert (
                row.reason == f"1 of 1 rows of stratum {row.stratum} of cluster 0 drawn at random"
            )
        else:
            assert row.reason == f"the budget leaves no row to stratum {row.stratum} of cluster 0"
    _, rows = explained(pool, 3, Rules(clusters=1, sampling="top"))
    said = "3 of 10 rows of cluster 0 chosen, those of largest el2n: 0.777778 to 1"
    assert {row.reason for row in rows} == {said}
    assert [row.chosen for row in rows] == [False] * 7 + [True] * 3
    assert {row.stratum for row in rows} == {None}


def test_a_full_stratum_and_a_trimmed_tail_are_told() -> None:
    # 40 rows: the 2 lowest and 2 highest are trimmed, the other 36 tie in one stratum.
    column = np.r_[[0.0, 0.1], np.full(36, 0.5), [0.9, 1.0]]
    features = np.ones((40, 2), np.float16)
    pool = Pool([f"r{row}" for row in range(40)], features, scores={"el2n": column})
    _, rows = explained(pool, 10, Rules(clusters=1))
    trimmed = "trimmed: its el2n is at an end of cluster 0; 0 of 4 trimmed rows were needed"
    assert {rows[row].reason for row in (0, 1, 38, 39)} == {trimmed}
    counts = "10 of 36 rows of stratum 0 of cluster 0 drawn at random"
    assert {row.reason for row in rows if row.chosen} == {counts}
    left = {row.reason for row in rows[2:38] if not row.chosen}
    assert left == {f"stratum full: {counts}"}
    _, rows = explained(pool, 38, Rules(clusters=1))
    assert rows[0].reason == trimmed.replace("0 of 4", "2 of 4")


@pytest.mark.parametrize(
    ("method", "floors"),
    [(method, {}) for method in METHODS]
    + [(method, {"b": 0.7}) for method in METHODS if method != "multitask"],
)
def test_every_method_explains_every_row(method: str, floors: dict) -> None:
    pool = pool_of()
    selection, rows = explained(pool, 20, Rules(method, clusters=4, floors=floors))
    chosen = [row.position for row in rows if row.chosen]
    assert chosen == selection.indices.tolist()
    assert all(row.reason for row in rows)
    for row in rows:
        if row.cluster is not None:
            assert row.cluster_size == sum(other.cluster == row.cluster for other in rows)
            taken = sum(other.cluster == row.cluster and other.chosen for other in rows)
            assert row.cluster_budget == taken
    known = selection.table["stratum"].to_pylist()
    assert [row.stratum for row in rows if row.chosen] == known


def test_what_the_other_methods_say() -> None:
    def angle(*degrees: float) -> np.ndarray:
        radians = np.deg2rad(degrees)
        return np.stack([np.cos(radians), np.sin(radians)], axis=1)

    # Cosine to the nearest earlier row: none, cos 60 = 0.5, cos 10, cos 30.
    pool = Pool(["a", "b", "c", "d"], angle(0, 60, 10, 90), arrival=np.array([1, 2, 2, 2]))
    _, rows = explained(pool, 2, Rules("semdedup", clusters=1))
    assert rows[0].reason == "the first row of cluster 0, which is never a copy"
    assert rows[2].reason == (
        "cosine 0.984808 to the earlier row 'a'; of cluster 0 the 2 of 4 rows of smallest such"
        " cosine are chosen, up to 0.500000"
    )
    # Their sum points to 40.9 degrees, from which a and d are farthest: 1 - cos = 0.244, 0.345.
    _, rows = explained(pool, 2, Rules("dbp", clusters=1))
    assert [row.chosen for row in rows] == [True, False, False, True]
    total = angle(0, 60, 10, 90).sum(axis=0)
    centre = total / np.linalg.norm(total)
    far = 1 - angle(0, 60, 10, 90) @ centre
    assert rows[1].reason == (
        f"cosine distance {far[1]:.6f} to the centre of cluster 0, of which the 2 of 4 farthest"
        f" rows are chosen, from {far[0]:.6f} on"
    )
    _, rows = explained(pool, 2, Rules("sequential"))
    assert rows[0].reason == "came at step 1, and only rows of step 2 are drawn"
    assert rows[1].reason == "2 of 3 rows of step 2 drawn at random"
    _, rows = explained(pool, 2, Rules("random"))
    assert {row.reason for row in rows} == {"2 of 4 rows of the pool drawn at random"}
    _, rows = explained(pool, 2, Rules("multitask"))
    assert {row.reason for row in rows} == {"the pool gives all its rows"}


def test_neighbours_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selection.unit.BLOCK_ROWS", 3)
    rng = np.random.default_rng(0)
    features = rng.integers(-1, 2, (40, 3)).astype(np.float32)
    pool = Pool([str(row) for row in range(40)], features)
    chosen = np.arange(0, 40, 2)
    found = nearest_chosen(pool, chosen, range(40))
    for row, neighbour in enumerate(found):
        norms = np.linalg.norm(features, axis=1)
        others = [other for other in chosen if other != row and norms[other] > 0]
        if norms[row] == 0:
            assert neighbour is None
            continue
        cosines = [
            round(float(features[row] @ features[o] / norms[row] / norms[o]), 6) for o in others
        ]
        assert neighbour.cosine == pytest.approx(max(cosines), abs=1e-6)
        assert neighbour.id == str(others[cosines.index(max(cosines))])
    assert nearest_chosen(Pool(["a"]), np.array([0]), [0]) == [None]
    assert nearest_chosen(pool, np.array([1]), [1]) == [None]


def test_shares_are_seen_by_methods_without_clusters() -> None:
    pool = pool_of()
    ages = np.array(["old" if step == 1 else "new" for step in pool.arrival])
    for method in ("random", "el2n"):
        free, rows = explained(pool, 20, Rules(method))
        assert all("of the pool" in row.reason for row in rows)
        _, rows = explained(pool, 20, Rules(method, floors={"b": 0.05}))
        assert all("of the pool" in row.reason for row in rows)
        _, rows = explained(pool, 20, Rules(method, floors={"b": 0.7}))
        assert all(f"of group {pool.groups[row.position]!r}" in row.reason for row in rows)
        _, rows = explained(pool, 20, Rules(method, old=(0.0, 0.1)))
        assert all(f"of group '{ages[row.position]}'" in row.reason for row in rows)
        assert sum(row.chosen for row in rows if ages[row.position] == "old") == 2
        assert len(free.indices) == 20
