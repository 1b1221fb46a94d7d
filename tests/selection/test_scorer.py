from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selection.names import SCORES
from selection.scorer import (
    choose_scorer,
    histogram_entropy,
    mean_rank,
    raw_entropy,
    scorer_order,
)


def entropy_by_hand(scores: list[float]) -> float:
    """Formula of the docstring, one row at a time."""
    finite = [x for x in scores if math.isfinite(x)]
    mean = sum(finite) / len(finite)
    std = math.sqrt(sum((x - mean) ** 2 for x in finite) / len(finite))
    bins = Counter(min(49, max(0, math.floor(((x - mean) / std + 4) / 0.16))) for x in finite)
    return -sum(c / len(finite) * math.log2(c / len(finite)) for c in bins.values())


@pytest.mark.parametrize("draw", ["normal", "lognormal", "gamma"])
def test_entropy_equals_the_plain_formula(draw: str) -> None:
    rng = np.random.default_rng(1)
    scores = {
        "normal": rng.standard_normal(500),
        "lognormal": rng.lognormal(size=500),
        "gamma": rng.gamma(2.0, size=500),
    }[draw]
    scores[::50] = np.nan
    assert histogram_entropy(scores) == pytest.approx(entropy_by_hand(scores.tolist()), abs=1e-9)


def test_entropy_by_hand() -> None:
    assert histogram_entropy(np.array([0.0, 1.0])) == 1.0
    assert histogram_entropy(np.array([5.0, 5.0, 9.0, 9.0])) == 1.0
    assert histogram_entropy(np.array([1.0, 2.0, 3.0, 4.0])) == 2.0


@pytest.mark.parametrize(
    "scores", [[], [7.0], [0.1] * 30, [0.0] * 5, [np.nan] * 4, [3.0, 3.0, np.nan, np.inf]]
)
def test_constant_or_missing_scores_have_no_bits(scores: list[float]) -> None:
    bits = histogram_entropy(np.array(scores))
    assert (bits, math.copysign(1, bits)) == (0.0, 1.0)


@settings(max_examples=150)
@given(
    scores=st.lists(st.integers(-50, 50), min_size=2, max_size=80),
    power=st.floats(-6, 6),
    shift=st.floats(-100, 100),
)
def test_entropy_does_not_know_the_unit(scores: list[int], power: float, shift: float) -> None:
    """Released code: the same scores times 0.1, 1 and 10 have 5.6, 4.8 and 1.8 bits."""
    plain = np.array(scores, float)
    moved = (plain + shift) * 10.0**power
    assert histogram_entropy(moved) == histogram_entropy(plain)


@pytest.mark.parametrize("factor", [1e-300, 1e-6, 1.0, 1e6, 1e300])
def test_a_negative_factor_mirrors_the_histogram(factor: float) -> None:
    scores = np.random.default_rng(0).gamma(2.0, size=400)
    assert histogram_entropy(scores * -factor) == histogram_entropy(scores)


def test_the_unit_of_a_score_does_not_decide_who_wins() -> None:
    """In the released code the scorer of smallest raw spread wins nearly always."""
    rng = np.random.default_rng(2)
    wide, narrow = rng.uniform(size=1000), rng.lognormal(sigma=2.0, size=1000)
    for unit in (1e-6, 1e-3, 1.0, 1e3, 1e6):
        chosen = choose_scorer({"perplexity": wide * unit, "el2n": narrow})
        assert chosen.name == "perplexity"
        assert chosen.entropies == choose_scorer({"perplexity": wide, "el2n": narrow}).entropies


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_missing_value_neither_wins_nor_loses(bad: float) -> None:
    spread = np.linspace(0.0, 1.0, 100)
    holed = np.append(np.repeat([0.0, 1.0], 50), bad)
    chosen = choose_scorer({"perplexity": holed, "el2n": np.append(spread, 0.5)})
    assert chosen.name == "el2n"
    assert chosen.entropies["perplexity"] == 1.0
    assert choose_scorer({"perplexity": np.append(spread, bad), "el2n": holed}).name == "perplexity"


def test_a_constant_or_empty_score_never_beats_one_that_varies() -> None:
    rows = {"perplexity": [np.nan] * 3, "el2n": [0.1, 0.1, 0.1], "entropy": [1.0, 1.0, 2.0]}
    columns = {name: np.array(values) for name, values in rows.items()}
    assert choose_scorer(columns).name == "entropy"
    assert choose_scorer({name: columns[name] for name in ("perplexity", "el2n")}).name == "el2n"
    assert choose_scorer({"perplexity": columns["perplexity"]}).name is None
    assert choose_scorer({}).name is None


def test_ties_go_by_the_order_of_the_names() -> None:
    column = np.arange(10.0)
    assert choose_scorer({"b": column, "a": column}).name == "a"
    assert choose_scorer({"a": column, "grand": column, "el2n": -column}).name == "el2n"
    assert scorer_order(["b", "a", *reversed(SCORES)]) == [*SCORES, "a", "b"]


def ranks_by_hand(columns: list[list[float]]) -> list[float]:
    rows = range(len(columns[0]))
    whole = [i for i in rows if all(math.isfinite(column[i]) for column in columns)]
    means = [math.nan] * len(columns[0])
    for i in whole:
        below = [sum(column[j] < column[i] for j in whole) for column in columns]
        ties = [sum(column[j] == column[i] for j in whole) for column in columns]
        ranks = [b + (t + 1) / 2 for b, t in zip(below, ties, strict=True)]
        means[i] = sum(ranks) / len(ranks)
    return means


@settings(max_examples=150)
@given(
    rows=st.lists(
        st.tuples(*[st.sampled_from([0.0, 1.0, 2.0, -5.0, math.nan, math.inf])] * 3), min_size=1
    )
)
def test_mean_ranks_equal_the_plain_count(rows: list[tuple[float, float, float]]) -> None:
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    expected = ranks_by_hand([column.tolist() for column in columns])
    np.testing.assert_allclose(mean_rank(columns), expected)


def test_mean_ranks_do_not_know_the_unit() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.gamma(2.0, size=60), rng.integers(0, 9, 60).astype(float)
    np.testing.assert_array_equal(mean_rank([np.log(one), two**3]), mean_rank([one, two]))
    assert mean_rank([]) is None


def test_the_rule_names_the_scorer() -> None:
    columns = {
        "perplexity": np.array([1.0, 9.0, 5.0, np.nan]),
        "el2n": np.array([1.0, 1.0, 2.0, 0.0]),
        "grand": np.full(4, np.nan),
    }
    ranked = choose_scorer(columns, "mean-rank")
    assert ranked.name == "mean-rank"
    assert ranked.column is not None
    np.testing.assert_array_equal(ranked.column, [1.25, 2.25, 2.5, np.nan])
    fixed = choose_scorer(columns, "el2n")
    assert (fixed.name, fixed.column is columns["el2n"]) == ("el2n", True)
    assert choose_scorer(columns).name == "perplexity"
    assert ranked.entropies == fixed.entropies == choose_scorer(columns).entropies
    for rule in ("grand", "elsewhere"):
        missing = choose_scorer(columns, rule)
        assert (missing.name, missing.column) == (None, None)
    nowhere_whole = {"el2n": np.array([1.0, np.nan]), "grand": np.array([np.nan, 1.0])}
    assert choose_scorer(nowhere_whole, "mean-rank").name is None
    assert choose_scorer({}, "mean-rank").name is None


def raw_by_hand(scores: list[float]) -> float:
    """What the released code computes, one row and one bin at a time."""
    filled = [x if math.isfinite(x) else 0.0 for x in scores]
    mean = sum(filled) / len(filled)
    std = math.sqrt(sum((x - mean) ** 2 for x in filled) / len(filled))
    edges = [-4 * std + 8 * std * i / 49 for i in range(50)]
    z = [(x - mean) / std for x in filled]
    counts = [0] + [sum(low < x <= high for x in z) for low, high in pairwise(edges)]
    shares = [count / sum(counts) or 2.0**-52 for count in counts]
    return -sum(share * math.log2(share) for share in shares)


@pytest.mark.parametrize("unit", [0.1, 1.0, 10.0])
def test_raw_entropy_equals_the_plain_formula(unit: float) -> None:
    scores = np.random.default_rng(1).gamma(2.0, size=300) * unit
    scores[::50] = np.nan
    assert raw_entropy(scores) == pytest.approx(raw_by_hand(scores.tolist()), abs=1e-9)


@pytest.mark.parametrize(
    ("unit", "bits"),
    [
        # Standard deviation unit / 2, z = -1 and 1, edges from -2 unit to 2 unit.
        (0.2, math.nan),  # edges end at 0.4: no row between them
        (1.0, 1.0),
        (10.0, 1.0),  # bins of 0.816: places 23.3 and 25.7
        (100.0, 0.0),  # bins of 8.16: places 24.4 and 24.6
    ],
)
def test_raw_entropy_by_hand(unit: float, bits: float) -> None:
    found = raw_entropy(np.array([0.0, unit]))
    assert found == pytest.approx(bits, abs=1e-9, nan_ok=True)
    assert histogram_entropy(np.array([0.0, unit])) == 1.0


def test_raw_entropy_drops_rows_outside_its_bins() -> None:
    """25 rows at z = -0.2 and one at 5, with a standard deviation of 1: edges end at 4."""
    scores = np.array([0.0] * 25 + [5.2])
    assert scores.std() == pytest.approx(1.0)
    assert raw_entropy(scores) == pytest.approx(0.0, abs=1e-9)
    assert histogram_entropy(scores) > 0.2


@pytest.mark.parametrize("scores", [[], [7.0], [3.0] * 5, [np.nan] * 4, [1.0, 2.0, np.inf]])
def test_raw_entropy_is_no_number_where_the_released_code_has_none(scores: list[float]) -> None:
    assert math.isnan(raw_entropy(np.array(scores)))


def test_the_unit_of_a_score_decides_who_wins_by_raw_entropy() -> None:
    """Of the unit-free entropies el2n has 1.0 bits, grand 2.0, in every unit."""
    two, four = np.tile([0.0, 4.0], 8), np.tile([0.0, 1.0, 2.0, 3.0], 4)
    chosen = {
        unit: [
            choose_scorer({"el2n": two, "grand": four * unit}, rule).name
            for rule in ("raw-entropy", "max-entropy")
        ]
        for unit in (1.0, 1000.0)
    }
    assert chosen == {1.0: ["grand", "grand"], 1000.0: ["el2n", "grand"]}


def test_by_raw_entropy_the_first_that_is_no_number_wins() -> None:
    varied, constant = np.arange(10.0), np.ones(10)
    columns = {"el2n": varied, "entropy": constant, "grand": constant}
    raw, best = choose_scorer(columns, "raw-entropy"), choose_scorer(columns)
    assert (raw.name, raw.column is constant, best.name) == ("entropy", True, "el2n")
    assert raw.entropies == best.entropies
    unmeasured = {"el2n": np.full(10, np.nan), "grand": varied}
    assert choose_scorer(unmeasured, "raw-entropy").name == "grand"
    assert choose_scorer({"el2n": unmeasured["el2n"]}, "raw-entropy").name is None


def test_raw_entropy_takes_the_logarithm_of_perplexity() -> None:
    """Half steps of the logarithm up to e^5; as they are, their bins are 7 wide in z."""
    steps = np.arange(0.0, 5.5, 0.5)
    columns = {"perplexity": np.exp(steps), "el2n": np.array([0.0, 1.0] * 5 + [0.0])}
    assert raw_entropy(columns["perplexity"]) < 0.9 < 1.1 < raw_entropy(steps)
    assert choose_scorer(columns, "raw-entropy").name == "perplexity"
