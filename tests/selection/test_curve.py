from __future__ import annotations

import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits

from selection import Pool, assign, curve, prune, select
from selection.budget import cluster_count
from selection.curve import CurvePoint, cluster_numbers, count_curve, elbow
from selection.kmeans import cluster_rows
from selection.lloyd import train_centroids
from selection.names import CLUSTERS
from selection.unit import unit_rows
from tests.selection.planted import planted

RULES = ("elbow", "silhouette")


def points_of(numbers: list[int], values: list[float]) -> list[CurvePoint]:
    return [CurvePoint(n, value) for n, value in zip(numbers, values, strict=True)]


def elbow_by_distance(points: list[CurvePoint]) -> tuple[int, NDArray[np.float64]]:
    """The point farthest from the chord of the scaled curve, on the side below it.

    Also the signed distances of all points, perpendicular to the chord.
    """
    x = np.log2([p.clusters for p in points])
    y = np.array([p.value for p in points])
    x, y = (x - x.min()) / np.ptp(x), (y - y[-1]) / (y[0] - y[-1])
    ends = np.array([x[-1] - x[0], y[-1] - y[0]])
    spans = [ends[0] * (y[0] - b) - (x[0] - a) * ends[1] for a, b in zip(x, y, strict=True)]
    below = np.array(spans) / np.linalg.norm(ends)
    return points[int(below.argmax())].clusters, below


@settings(max_examples=200)
@given(
    numbers=st.lists(st.integers(2, 500), min_size=3, max_size=12, unique=True),
    seed=st.integers(0, 2**32),
    scale=st.floats(0.01, 100),
    shift=st.floats(-10, 10),
)
def test_the_elbow_is_the_point_farthest_below_the_chord(
    numbers: list[int], seed: int, scale: float, shift: float
) -> None:
    values = np.random.default_rng(seed).random(len(numbers))
    values[0], values[-1] = 1.5, -0.5
    points = points_of(sorted(numbers), values.tolist())
    expected, below = elbow_by_distance(points)
    # The chord of the unit square has a slope of -1: straight down it is farther by sqrt(2).
    deepest, second = np.sqrt(2) * np.sort(below)[::-1][:2]
    assume(deepest - second > 1e-6)
    assume(abs(deepest - 0.1) > 1e-6)
    moved = points_of(sorted(numbers), (scale * values + shift).tolist())
    assert elbow(points) == elbow(moved) == (expected if deepest > 0.1 else None)


def test_the_elbow_by_hand() -> None:
    """Chord from 1 at k = 2 to 0 at k = 32: 0.75, 0.5, 0.25 at 4, 8, 16."""
    numbers = [2, 4, 8, 16, 32]
    assert elbow(points_of(numbers, [1, 0.7, 0.1, 0.05, 0])) == 8
    assert elbow(points_of(numbers, [1, 0.5, 0.25, 0.2, 0])) == 4
    assert elbow(points_of(numbers, [1, 0.7, 0.39, 0.25, 0])) == 8
    assert elbow(points_of(numbers, [1, 0.7, 0.41, 0.25, 0])) is None
    # Straight in log k, and bulging upwards: no elbow.
    assert elbow(points_of(numbers, [1, 0.75, 0.5, 0.25, 0])) is None
    assert elbow(points_of(numbers, [1, 0.9, 0.8, 0.6, 0])) is None
    # Level, rising, too short.
    assert elbow(points_of(numbers, [1, 1, 1, 1, 1])) is None
    assert elbow(points_of(numbers, [0, 1, 1, 1, 1])) is None
    assert elbow(points_of([2, 4], [1, 0])) is None


def test_numbers_tried_by_hand() -> None:
    assert cluster_numbers(64, 10_000) == [2, 3, 4, 6, 8, 11, 16]
    assert cluster_numbers(64, 13) == [2, 3, 4, 6]
    assert cluster_numbers(25_000, 10**6) == [10, 14, 20, 28, 40, 56, 79, 112, 158, 224, 316]
    assert cluster_numbers(64, 3) == cluster_numbers(0, 100) == []


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("skills", [6, 8])
@pytest.mark.parametrize("skew", [0.0, 1.0])
def test_planted_skills_are_counted(rule: str, skills: int, skew: float) -> None:
    """Cosines to a skill's direction of 0.96, of different ones about 0: right in 9 of 10 seeds."""
    found: Counter[int] = Counter()
    for seed in range(10):
        rows = planted(1000, skills, 64, 0.3, seed, skew).rows
        found[count_curve(rows, np.arange(1000), rule, 64, seed).chosen] += 1
    assert found[skills] >= 9, found


def test_rows_without_clusters_have_no_elbow() -> None:
    for seed in range(4):
        rows = np.random.default_rng(seed).standard_normal((1000, 64)).astype(np.float32)
        assert count_curve(rows, np.arange(1000), "elbow", 100, seed).chosen == 10


def test_the_distance_is_one_minus_the_mean_cosine(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = planted(300, 5, 16, 1.0, 0).rows
    found = count_curve(rows, np.arange(300), "elbow", 25, 3)
    assert (
        [point.clusters for point in found.points] == cluster_numbers(25, 300) == [2, 4, 5, 7, 10]
    )
    monkeypatch.setattr(curve, "train_centroids", lambda units, count, seed: np.eye(count, 16))
    for point in count_curve(rows, np.arange(300), "elbow", 25, 3).points:
        similarity = assign(rows, np.eye(point.clusters, 16)).similarity
        assert point.value == pytest.approx(1 - similarity.mean(), abs=1e-6)
        assert point.value == round(point.value, 9)


def test_the_silhouette_is_that_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a sample of which all rows are taken, so that it can be asked again."""
    seen: dict[int, NDArray[np.float32]] = {}

    def train(units: NDArray[np.float32], count: int, seed: int) -> NDArray[np.float32]:
        seen[count] = train_centroids(units, count, seed)
        return seen[count]

    monkeypatch.setattr(curve, "train_centroids", train)
    rows = planted(400, 6, 32, 1.0, 0).rows
    found = count_curve(rows, np.arange(400), "silhouette", 36, 3)
    assert found.rows == 400
    units = unit_rows(rows, np.arange(400), np.float64)
    expected = {}
    for count, centroids in seen.items():
        labels = assign(rows, centroids).labels
        expected[count] = float(silhouette_score(units, labels, metric="cosine"))
    assert {p.clusters: p.value for p in found.points} == pytest.approx(expected, abs=1e-6)
    assert found.chosen == max(expected, key=lambda count: expected[count])


def test_samples_have_the_stated_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve, "CURVE_ROWS", 120)
    rows = planted(500, 4, 16, 0.3, 0).rows
    trained: list[int] = []

    def train(units: NDArray[np.float32], count: int, seed: int) -> NDArray[np.float32]:
        trained.append(len(units))
        return train_centroids(units, count, seed)

    monkeypatch.setattr(curve, "train_centroids", train)
    assert count_curve(rows, np.arange(0, 500, 2), "elbow", 64, 0).rows == 120
    assert set(trained) == {120}


def test_of_equally_good_numbers_the_smaller_is_taken() -> None:
    """Four directions, each of ten equal rows: any number from 4 up gives them, and silhouette 1.

    The distance is 0 from there on, and the elbow lies at 4 as well.
    """
    rows = np.repeat(np.eye(4, 8, dtype=np.float32), 10, axis=0)
    for rule in RULES:
        found = count_curve(rows, np.arange(40), rule, 64, 0)
        assert found.chosen == 4
        after = [point.value for point in found.points if point.clusters >= 4]
        assert len(after) >= 4
        assert set(after) == {0.0 if rule == "elbow" else 1.0}


@pytest.mark.parametrize("rule", RULES)
def test_pools_too_small_or_too_plain_for_a_curve(rule: str) -> None:
    one = np.ones((1, 4), dtype=np.float32)
    cases = {
        "no rows": (np.zeros((0, 4), np.float32), 0),
        "no directions": (np.zeros((5, 4), np.float32), 0),
        "one row": (one, 1),
        "three rows": (np.eye(3, 4, dtype=np.float32), 3),
        "equal rows": (np.repeat(one, 50, axis=0), 1),
        "opposed rows": (np.array([[1.0, 0], [-1, 0]], np.float32).repeat(20, axis=0), 2),
    }
    for name, (rows, count) in cases.items():
        clustering = cluster_rows(rows, 64, rule, seed=0)
        assert len(clustering.centroids) == count, name
        assert sum(len(members) for members in clustering.members) == len(rows)
        for budget in (0, 1, len(rows), 100):
            result = select(Pool([str(i) for i in range(len(rows))], rows), budget, clusters=rule)
            assert len(result.indices) == min(budget, len(rows))
            json.dumps(result.summary, allow_nan=False)


@pytest.mark.parametrize("rule", RULES)
def test_threads_and_repetition_change_nothing(rule: str) -> None:
    rows = planted(2500, 9, 33, 1.0, 0).rows
    found = []
    for threads in (1, 2, 1):
        with threadpool_limits(threads):
            found.append(count_curve(rows, np.arange(2500), rule, 100, 3))
    assert found[0] == found[1] == found[2]
    other = count_curve(rows, np.arange(2500), rule, 100, 4)
    assert [p.value for p in other.points] != [p.value for p in found[0].points]


@pytest.mark.parametrize("method", ["adapt-inf", "adapt-inf-lite", "semdedup", "dbp", "coincide"])
def test_the_curve_reaches_the_summary(method: str) -> None:
    sample = planted(600, 6, 32, 0.3, 0)
    ids, steps = [str(i) for i in range(600)], np.repeat([1, 2], 300)
    pool = Pool(ids, sample.rows, arrival=steps)
    result = select(pool, 64, method, clusters="elbow", seed=2)
    told = result.summary["k_curve"]
    assert (told["rule"], told["rows"], told["chosen"]) == ("elbow", 600, 6)
    assert len(result.summary["clusters"]) == 6
    assert list(told["points"][0]) == ["clusters", "distance"]
    assert "k_curve" not in select(pool, 64, method, seed=2).summary
    assert "k_curve" not in select(pool, 64, method, centroids=result.centroids).summary
    within = select(pool, 64, method, clusters="elbow", seed=2, old=(0.9, 1.0))
    assert within.summary["k_curve"] == told


def test_pruning_takes_the_rules_too() -> None:
    rows = planted(600, 6, 32, 0.3, 0).rows
    pool = Pool([str(i) for i in range(600)], embeddings=rows)
    result = prune(pool, 64, clusters="silhouette")
    assert len(result.summary["clusters"]) == result.summary["k_curve"]["chosen"] == 6
    best = max(result.summary["k_curve"]["points"], key=lambda point: point["silhouette"])
    assert best["clusters"] == 6
    assert "k_curve" not in prune(pool, 64).summary


def test_names_of_the_rules() -> None:
    assert ("auto", *curve.RULES) == CLUSTERS
    with pytest.raises(ValueError, match="unknown rule 'knee'; known: elbow, silhouette"):
        count_curve(np.eye(4), np.arange(4), "knee", 4, 0)
    with pytest.raises(ValueError, match="unknown clusters 'knee'"):
        select(Pool(["a"], np.eye(1)), 1, clusters="knee")
    assert cluster_count("elbow", 400, 100) == round(math.sqrt(400))
