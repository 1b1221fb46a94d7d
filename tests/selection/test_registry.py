from __future__ import annotations

import numpy as np
import pytest

from selection import Choice, Pool, Request, register, registry, select


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_methods", dict(registry._methods))


def test_a_near_name_is_suggested_and_a_far_one_gets_the_list() -> None:
    pool = Pool(["a"], None)
    with pytest.raises(ValueError, match="'adapt_inf'; did you mean 'adapt-inf'"):
        select(pool, 1, method="adapt_inf")
    with pytest.raises(ValueError, match="'zzz'; known: adapt-inf, adapt-inf-lite, coincide, d2"):
        select(pool, 1, method="zzz")


def test_a_registered_method_is_selected_by_its_name() -> None:
    @register("last")
    def last(pool: Pool, request: Request) -> Choice:
        return Choice(np.arange(len(pool))[::-1][: request.budget])

    result = select(Pool(["a", "b", "c"], None), 2, method="last")
    assert result.indices.tolist() == [1, 2]
    assert result.table["id"].to_pylist() == ["b", "c"]
    assert result.table["stratum"].to_pylist() == [None, None]


def test_columns_of_a_method_follow_its_rows_into_pool_order() -> None:
    @register("told")
    def told(pool: Pool, request: Request) -> Choice:
        return Choice(
            np.array([2, 0]),
            cluster=np.array([7, 5], np.int32),
            scorer=["el2n", None],
            score=np.array([0.25, np.nan]),
            stratum=np.array([3, -1], np.int32),
        )

    table = select(Pool(["a", "b", "c"], None), 2, method="told").table
    assert table.drop_columns(["position"]).to_pylist() == [
        {"id": "a", "cluster": 5, "scorer": None, "score": None, "stratum": None},
        {"id": "c", "cluster": 7, "scorer": "el2n", "score": 0.25, "stratum": 3},
    ]


def test_a_taken_name_is_refused() -> None:
    with pytest.raises(ValueError, match="'random' is already registered"):
        register("random")(lambda pool, request: Choice(np.arange(0)))


@pytest.mark.parametrize(
    ("rows", "message"),
    [([1, 0, 1], "more than once"), ([0, 3], "outside the pool of 3"), ([-1, 0], "outside")],
)
def test_a_faulty_method_is_found_out(rows: list[int], message: str) -> None:
    register("faulty")(lambda pool, request: Choice(np.array(rows)))
    with pytest.raises(ValueError, match=f"'faulty' chose a row {message}"):
        select(Pool(["a", "b", "c"], None), 2, method="faulty")
