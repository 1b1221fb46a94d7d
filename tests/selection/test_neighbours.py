from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from selection import neighbours
from selection.neighbours import Graph, nearest_neighbours
from tests.selection.oracles import edges_by_hand


def edges_of(graph: Graph) -> set[tuple[int, int]]:
    owners = np.repeat(np.arange(len(graph.starts) - 1), np.diff(graph.starts))
    return set(zip(owners.tolist(), graph.neighbours.tolist(), strict=True))


@pytest.mark.parametrize("q", [1, 3, 10])
@pytest.mark.parametrize("block_rows", [1, 16, 1024])
def test_the_graph_is_that_of_all_pairs(q: int, block_rows: int) -> None:
    rows = np.random.default_rng(0).standard_normal((120, 4))
    rows[60:90] = rows[:30]
    rows[[5, 77]], rows[20] = 0, np.inf
    edges = edges_by_hand(rows, q)
    graph = nearest_neighbours(rows, q, block_rows=block_rows)
    for i in range(len(rows)):
        own = slice(graph.starts[i], graph.starts[i + 1])
        expected = sorted(j for k, j in edges if k == i)
        assert graph.neighbours[own].tolist() == expected
        squared = [edges[i, j] for j in expected]
        np.testing.assert_allclose(graph.squared[own], squared, rtol=0, atol=5e-9)


def test_fewer_rows_than_neighbours_are_all_joined() -> None:
    graph = nearest_neighbours(np.eye(3))
    assert graph.starts.tolist() == [0, 2, 4, 6]
    assert graph.neighbours.tolist() == [1, 2, 0, 2, 0, 1]
    assert graph.squared.tolist() == [2.0] * 6
    assert nearest_neighbours(np.ones((1, 2))).starts.tolist() == [0, 0]
    assert nearest_neighbours(np.ones((0, 2))).starts.tolist() == [0]


def test_many_equal_rows_are_decided_by_their_age() -> None:
    """More candidates tie than a float32 product is asked for."""
    rows = np.repeat(np.eye(2, 5), 60, axis=0)
    expected = edges_by_hand(rows, 4)
    assert edges_of(nearest_neighbours(rows, 4)) == set(expected)


def test_candidates_in_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(1).standard_normal((150, 6))
    whole = nearest_neighbours(rows)
    monkeypatch.setattr(neighbours, "FAR_ROWS", 13)
    blocked = nearest_neighbours(rows)
    assert whole.neighbours.tobytes() == blocked.neighbours.tobytes()
    assert whole.squared.tobytes() == blocked.squared.tobytes()


def skills(n: int, count: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(2)
    centres = rng.standard_normal((count, 24))
    rows = centres[rng.integers(0, count, n)] + 0.4 * rng.standard_normal((n, 24))
    rows[::97] = 0
    return rows


def test_a_large_pool_is_joined_within_near_clusters() -> None:
    rows = skills(1500, 30)
    exact, near = (
        edges_of(nearest_neighbours(rows)),
        edges_of(nearest_neighbours(rows, all_pairs=9)),
    )
    assert len(exact & near) / len(exact) > 0.98
    again = nearest_neighbours(rows, all_pairs=9)
    assert edges_of(again) == near
    degrees = np.diff(again.starts)
    assert (degrees[::97] == 0).all()
    usable = np.delete(degrees, np.arange(0, 1500, 97))
    assert usable.min() >= 10


def test_threads_change_no_edge_of_a_large_pool() -> None:
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            graph = nearest_neighbours(skills(900, 10), all_pairs=9)
            found.append((graph.neighbours.tobytes(), graph.squared.tobytes()))
    assert found[0] == found[1]
