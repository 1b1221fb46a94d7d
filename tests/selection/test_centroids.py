from __future__ import annotations

import numpy as np
import pytest

from selection import Pool, assign, select, unit
from selection.kmeans import cluster_rows


def rows_of(n: int = 300) -> np.ndarray:
    rows = np.random.default_rng(0).standard_normal((n, 6)).astype(np.float16)
    rows[::70] = 0
    rows[5, 2] = np.nan
    return rows


def test_nearest_centroids_equal_the_plain_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit, "BLOCK_ROWS", 64)
    rows = rows_of()
    centroids = np.random.default_rng(1).standard_normal((7, 6))
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    found = assign(rows, centroids)
    for row, label, similarity in zip(rows, found.labels, found.similarity, strict=True):
        vector = row.astype(np.float64)
        if not np.isfinite(vector).all() or not vector.any():
            assert (label, np.isnan(similarity)) == (-1, True)
            continue
        cosines = centroids @ vector / np.linalg.norm(vector)
        assert label == cosines.argmax()
        assert similarity == pytest.approx(cosines.max(), abs=1e-6)


@pytest.mark.parametrize("clusters", [1, 4, "auto"])
def test_the_centroids_of_a_selection_give_its_clusters(clusters: int | str) -> None:
    rows = rows_of()
    result = select(Pool([str(i) for i in range(300)], rows), 300, clusters=clusters)
    assert result.centroids is not None
    assert result.centroids.dtype == np.float32
    labels = assign(rows, result.centroids).labels
    labels[labels < 0] = len(result.centroids)
    assert result.table["cluster"].to_pylist() == labels.tolist()


def test_earlier_centroids_are_used_and_keep_their_numbers() -> None:
    rows = np.repeat(np.eye(3, 4, dtype=np.float32), [10, 20, 2], axis=0)
    earlier = np.eye(4, dtype=np.float32)[[2, 3, 0, 1]]
    clustering = cluster_rows(rows, 9, "auto", 0, earlier)
    assert [len(members) for members in clustering.members] == [2, 0, 10, 20]
    result = select(Pool([str(i) for i in range(32)], rows), 12, centroids=earlier)
    assert result.centroids is not None
    assert result.centroids.tobytes() == earlier.tobytes()
    assert [c["size"] for c in result.summary["clusters"]] == [2, 0, 10, 20]
    assert [c["budget"] for c in result.summary["clusters"]] == [2, 0, 5, 5]


def test_the_one_centroid_is_the_mean_direction() -> None:
    rows = np.array([[2.0, 0.0], [0.0, 0.5]], dtype=np.float32)
    np.testing.assert_allclose(cluster_rows(rows, 1, 1, 0).centroids, [[0.5**0.5, 0.5**0.5]])
    opposed = np.array([[1.0, 0.0], [-1.0, 0.0]], dtype=np.float32)
    assert cluster_rows(opposed, 1, 1, 0).centroids.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(
    ("centroids", "message"),
    [
        (np.ones((2, 3)), r"shape \[k, 6\], but theirs is \(2, 3\)"),
        (np.ones((0, 6)), "shape"),
        (np.full((1, 6), np.nan), "must be finite, but number 0 is not"),
    ],
)
def test_centroids_that_cannot_be_used(centroids: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        assign(rows_of(), centroids)


@pytest.mark.parametrize("scale", [1e-30, 0.5, 7.0, 1e30])
def test_centroids_count_by_their_direction(scale: float) -> None:
    units = np.eye(3, 6, dtype=np.float32)
    plain, scaled = assign(rows_of(), units), assign(rows_of(), units * [[1], [scale], [2]])
    np.testing.assert_array_equal(scaled.labels, plain.labels)
    np.testing.assert_array_equal(scaled.similarity, plain.similarity)


def test_methods_without_clusters_have_no_centroids() -> None:
    pool = Pool(["a", "b"], np.eye(2, dtype=np.float32))
    assert select(pool, 1, method="random").centroids is None
    with pytest.raises(ValueError, match="'random' takes no centroids"):
        select(pool, 1, method="random", centroids=np.eye(2, dtype=np.float32))
