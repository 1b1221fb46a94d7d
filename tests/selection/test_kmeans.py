from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from selection import kmeans, unit
from selection.kmeans import Clustering, cluster_rows


def blobs(n: int, k: int, d: int = 16) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, k, n)
    rows = np.eye(k, d)[truth] + 0.05 * rng.standard_normal((n, d))
    return (rows * rng.uniform(0.01, 100.0, (n, 1))).astype(np.float16), truth


def labels_of(clustering: Clustering, n: int) -> NDArray[np.int64]:
    labels = np.full(n, -1)
    for cluster, rows in enumerate(clustering.members):
        assert (labels[rows] == -1).all()
        labels[rows] = cluster
    return labels


def test_directions_are_found_whatever_the_length_of_the_rows() -> None:
    rows, truth = blobs(300, 2)
    labels = labels_of(cluster_rows(rows, 100, 2, seed=0), 300)
    assert (labels == truth).all() or (labels == 1 - truth).all()


def test_every_row_is_with_its_nearest_centroid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit, "BLOCK_ROWS", 7)
    monkeypatch.setattr(kmeans, "TRAIN_ROWS_PER_CLUSTER", 20)
    rows, truth = blobs(500, 3)
    labels = labels_of(cluster_rows(rows, 100, 3, seed=1), 500)
    units = unit.unit_rows(rows, np.arange(500))
    centroids = np.stack([units[labels == c].mean(axis=0) for c in range(labels.max() + 1)])
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    # Trained on a sample, so a row may sit at the border of the clusters' own means.
    assert ((units @ centroids.T).argmax(axis=1) == labels).mean() > 0.98
    assert (labels >= 0).all()
    assert len(set(truth[labels == 0].tolist())) <= 2


def test_clusters_go_by_angle_alone() -> None:
    """Each row is with the centroid of largest cosine, however wide the clusters."""
    rng = np.random.default_rng(0)
    spread = np.repeat([0.05, 1.0], 200)[:, None]
    rows = (np.eye(1, 4) + spread * rng.standard_normal((400, 4))).astype(np.float32)
    clustering = cluster_rows(rows, 100, 2, seed=0)
    labels = labels_of(clustering, 400)
    units = unit.unit_rows(rows, np.arange(400))
    np.testing.assert_array_equal((units @ clustering.centroids.T).argmax(axis=1), labels)
    means = np.stack([units[labels == c].sum(axis=0) for c in (0, 1)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    assert (means * clustering.centroids).sum(axis=1).min() > 0.99


def test_the_block_size_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).standard_normal((400, 12)).astype(np.float16)
    whole = labels_of(cluster_rows(rows, 100, 9, seed=1), 400)
    monkeypatch.setattr(unit, "BLOCK_ROWS", 64)
    np.testing.assert_array_equal(labels_of(cluster_rows(rows, 100, 9, seed=1), 400), whole)


def test_rows_without_a_direction_form_one_cluster_more() -> None:
    rows, _ = blobs(40, 2)
    rows[[3, 5]] = 0.0
    rows[7, 2] = np.nan
    rows[9, 0] = -np.inf
    clustering = cluster_rows(rows, 16, 2, seed=0)
    assert clustering.unusable == 2
    assert clustering.members[2].tolist() == [3, 5, 7, 9]
    assert clustering.excluded == {"zero-feature": 2, "non-finite-feature": 2}
    assert sorted(np.concatenate(clustering.members).tolist()) == list(range(40))


def test_rows_that_none_can_be_clustered() -> None:
    clustering = cluster_rows(np.zeros((4, 3), np.float32), 16, 2, seed=0)
    assert [rows.tolist() for rows in clustering.members] == [[0, 1, 2, 3]]
    assert clustering.unusable == 0
    assert cluster_rows(np.zeros((0, 3), np.float32), 16, 2, seed=0).members == []


@pytest.mark.parametrize("k", [1, 5, 6, 50])
def test_equal_rows_and_too_many_clusters_leave_none_empty(k: int) -> None:
    rows = np.repeat(np.eye(3, 4), 2, axis=0).astype(np.float32)
    clustering = cluster_rows(rows, 9, k, seed=0)
    assert all(len(members) for members in clustering.members)
    assert sorted(np.concatenate(clustering.members).tolist()) == list(range(6))
    labels = labels_of(clustering, 6)
    assert (labels[::2] == labels[1::2]).all()


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1e20, 1e38])
def test_very_large_and_very_small_rows_have_a_direction(scale: float) -> None:
    rows = np.array([[3.0, 4.0]]) * np.array([[scale / 10]])
    np.testing.assert_allclose(
        unit.unit_rows(rows.astype(np.float32), np.array([0])), [[0.6, 0.8]], rtol=1e-4
    )


def test_threads_and_repetition_change_nothing() -> None:
    rows = np.random.default_rng(0).standard_normal((6000, 33)).astype(np.float16)
    found = []
    for threads in (1, 2, 1):
        with threadpool_limits(threads):
            found.append(labels_of(cluster_rows(rows, 400, "auto", seed=3), 6000))
    assert found[0].max() == 19
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


def test_the_seed_is_used() -> None:
    rows = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    one, two = (labels_of(cluster_rows(rows, 100, 10, seed=s), 300) for s in (0, 1))
    assert (one != two).any()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_peaks_are_largest_magnitudes_in_every_type(dtype: type) -> None:
    rows = np.random.default_rng(0).standard_normal((50, 7)).astype(dtype)
    rows[3], rows[4] = 0, -0.0
    rows[5, 2], rows[6, 0], rows[7, 6], rows[8, [1, 2]] = np.nan, np.inf, -np.inf, (-np.nan, np.inf)
    expected = np.abs(rows).max(axis=1).astype(np.float32)
    np.testing.assert_array_equal(unit.row_peaks(rows), expected)
    strided = np.abs(rows[:, ::2]).max(axis=1).astype(np.float32)
    np.testing.assert_array_equal(unit.row_peaks(rows[:, ::2]), strided)
