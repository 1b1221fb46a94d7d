from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from selection import Pool, select
from selection.coverage import STRATA, UNSCORED, stratify
from selection.names import METHODS, SCORES
from selection.single import SINGLE_SCORES

ODD = st.one_of(st.floats(-5, 5), st.sampled_from([0.0, 1.0, math.nan, math.inf, -math.inf]))


def pool_of(n: int = 400) -> Pool:
    rng = np.random.default_rng(0)
    scores = {name: rng.lognormal(size=n) for name in SCORES}
    return Pool([f"r{i}" for i in range(n)], scores=scores)


def test_there_is_one_method_per_score() -> None:
    assert list(SINGLE_SCORES) == ["perplexity", "el2n", "entropy", "grand", "image-grounding"]
    assert set(SINGLE_SCORES) < set(METHODS)


@pytest.mark.parametrize(("method", "score"), [*zip(SINGLE_SCORES, SCORES, strict=True)])
def test_every_stratum_of_the_own_score_gives_its_share(method: str, score: str) -> None:
    pool = pool_of()
    table = select(pool, 60, method=method).table
    column = pool.scores[score]
    rows = table["position"].to_numpy()
    assert set(table["scorer"].to_pylist()) == {score}
    np.testing.assert_array_equal(table["score"].to_numpy(), column[rows])
    strata = stratify(column)
    np.testing.assert_array_equal(table["stratum"].to_numpy(), strata[rows])
    taken = np.bincount(strata[rows], minlength=STRATA + 2)[:STRATA]
    short = taken < np.bincount(strata, minlength=STRATA + 2)[:STRATA]
    assert short.any()
    assert taken.max() - taken[short].min() <= 1


def test_only_the_own_score_counts() -> None:
    pool = pool_of()
    alone = Pool(pool.ids, scores={"el2n": pool.scores["el2n"]})
    assert select(alone, 40, method="el2n").table.equals(select(pool, 40, method="el2n").table)


def test_a_missing_score_is_named() -> None:
    pool = Pool(["a"], scores={"el2n": np.zeros(1)})
    with pytest.raises(ValueError, match="image-grounding needs the score 'image_grounding'"):
        select(pool, 1, method="image-grounding")


def test_rows_without_the_score_are_a_stratum_and_counted() -> None:
    column = np.append(np.repeat([0.0, 1.0], 50), [np.nan] * 25 + [np.inf] * 25)
    pool = Pool([f"r{i}" for i in range(150)], scores={"grand": column})
    result = select(pool, 30, method="grand")
    strata = result.table["stratum"].to_numpy()
    assert np.bincount(strata)[[0, 49, UNSCORED]].tolist() == [10, 10, 10]
    assert result.summary["excluded"] == {"non-finite-score:grand": 50}


@settings(max_examples=80, deadline=None)
@given(st.lists(ODD, max_size=40), st.integers(0, 50), st.integers(0, 2**40))
def test_every_budget_is_met_exactly(column: list[float], budget: int, seed: int) -> None:
    pool = Pool([f"r{i}" for i in range(len(column))], scores={"entropy": np.array(column)})
    rows = select(pool, budget, method="entropy", seed=seed).indices.tolist()
    assert len(rows) == len(set(rows)) == min(budget, len(column))


def test_the_seed_draws_and_threads_do_not() -> None:
    tables = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            tables.append(select(pool_of(), 60, method="perplexity", seed=3).table)
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(select(pool_of(), 60, method="perplexity", seed=4).table)
