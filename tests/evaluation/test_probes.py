"""Probes: which questions are chosen, what they say of all, and how sure that is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptinf.evaluation.intervals import bootstrap_interval
from adaptinf.evaluation.probes import Probe, choose_probe


def singles(scores: np.ndarray, size: int, seed: int = 0, groups: list[str] | None = None) -> Probe:
    names = [str(place) for place in range(len(scores))]
    return choose_probe(scores, groups or [""] * len(scores), names, size, seed)


def test_the_estimate_by_hand():
    probe = Probe(
        places=np.array([0, 4, 5, 7, 9]),
        units=np.array([0, 4, 5, 7, 9]),
        strata=np.array([0, 0, 1, 1, 1]),
        shares=np.array([0.6, 0.4]),
        sizes=np.array([6, 4]),
        total=10,
    )
    # 0.6 x mean(1, 0) + 0.4 x mean(1, 1, 0.5).
    assert probe.estimate([1, 0, 1, 1, 0.5]) == pytest.approx(0.6 * 0.5 + 0.4 * 2.5 / 3)


def test_base_scores_have_their_shares_and_the_mean_is_exact():
    scores = np.repeat([0.0, 0.3, 1.0], [50, 20, 30])
    np.random.default_rng(1).shuffle(scores)
    for seed in range(20):
        probe = singles(scores, 10, seed)
        assert sorted(scores[probe.places].tolist()) == [0] * 5 + [0.3] * 2 + [1] * 3
        assert scores[probe.places].mean() == pytest.approx(scores.mean())
        assert probe.estimate(scores[probe.places]) == pytest.approx(scores.mean())


def test_every_group_has_its_share_of_every_base_score():
    scores = np.tile([0.0, 1.0], 60)
    groups = ["many"] * 60 + ["some"] * 40 + ["few"] * 20
    probe = singles(scores, 12, 3, groups)
    pairs = [(groups[place], scores[place]) for place in probe.places]
    for score in (0, 1):
        counts = [pairs.count((group, score)) for group in ("many", "some", "few")]
        assert counts == [3, 2, 1]


def test_a_rare_score_joins_its_neighbour_where_it_has_no_share():
    scores = np.array([0.0] * 97 + [1.0] * 3)
    assert len(singles(scores, 50).shares) == 1  # 1.5 of 50
    probe = singles(scores, 70)  # 2.1 of 70
    assert probe.shares.tolist() == [0.97, 0.03]
    assert probe.estimate(scores[probe.places]) == pytest.approx(0.03)


def test_what_belongs_together_is_asked_whole():
    wholes = [str(place // 3) for place in range(90)]
    scores = np.tile([1.0, 1.0, 0.0, 0.0, 0.0, 0.0], 15)
    probe = choose_probe(scores, [""] * 90, wholes, 20, 0)
    asked = np.unique(probe.places // 3)
    assert len(asked) == 6 and len(probe.places) == 18
    assert np.array_equal(probe.places, np.concatenate([3 * a + np.arange(3) for a in asked]))
    assert probe.estimate(scores[probe.places]) == pytest.approx(1 / 3)


def test_units_of_unlike_size_weigh_by_their_questions():
    wholes = ["a", "a", "a", "b", "c", "c", "c", "d"]
    scores = np.array([1, 1, 1, 1, 0, 0, 0, 0.0])
    probe = choose_probe(scores, [""] * 8, wholes, 8, 0)
    assert probe.places.tolist() == list(range(8))
    # The level of right ones has four of eight questions, three of them in one unit.
    assert probe.estimate([1, 1, 1, 0, 0, 0, 0, 0]) == pytest.approx(0.5 * 0.75)


def test_over_all_draws_the_estimate_is_that_of_all_questions():
    draw = np.random.default_rng(0)
    base = (draw.random(300) < 0.6).astype(float)
    later = np.where(draw.random(300) < 0.2, 1 - base, base)
    random, probed = [], []
    for seed in range(3000):
        probe = singles(base, 40, seed)
        probed.append(probe.estimate(later[probe.places]))
        part = np.random.default_rng(seed).choice(300, 40, replace=False)
        random.append(later[part].mean())
    # The standard error of the mean of 3,000 estimates is 0.06 / sqrt(3000), or 0.001.
    assert np.mean(probed) == pytest.approx(later.mean(), abs=0.004)
    # By theory: the spread within strata of the base scores, without what was asked.
    shares = [np.mean(base == level) for level in (0, 1)]
    spread = sum(w * later[base == level].var() for w, level in zip(shares, (0, 1), strict=True))
    assert np.std(probed) == pytest.approx(np.sqrt(spread / 40 * (1 - 40 / 300)), rel=0.05)
    assert np.std(probed) < 0.9 * np.std(random)


def test_the_interval_covers_the_choice_and_the_questions():
    draw = np.random.default_rng(2)
    held, holds = 0, 400
    for seed in range(holds):
        base = (draw.random(1000) < 0.6).astype(float)
        later = np.where(draw.random(1000) < 0.3, draw.random(1000) < 0.5, base).astype(float)
        probe = singles(base, 120, seed)
        interval = probe.interval(later[probe.places], seed)
        held += interval.low <= 0.7 * 0.6 + 0.3 * 0.5 <= interval.high
    # Of 400 intervals that hold the truth 19 times in 20, all but 8 to 34 do (three deviations).
    assert 366 <= held <= 393


def test_asked_whole_it_is_the_interval_of_all_questions():
    scores = np.array([0.0] * 120 + [1.0] * 80)
    whole = singles(scores, 200).interval(100 * scores, 0)
    every = bootstrap_interval(100 * scores, 0)
    assert (whole.low, whole.high) == pytest.approx((every.low, every.high), abs=1)


def test_the_same_seed_chooses_the_same_and_another_others():
    scores = np.random.default_rng(0).random(400)
    one, same, other = (singles(scores, 50, seed).places.tolist() for seed in (1, 1, 2))
    assert one == same != other
    assert len(singles(scores, 50, 1).shares) == 5  # bins, of so many unlike scores
    assert scores[one].mean() == pytest.approx(scores.mean(), abs=0.03)


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.3, 0.6, 1.0]), st.integers(0, 30)), min_size=2),
    st.integers(2, 60),
    st.integers(0, 5),
)
def test_any_probe_is_of_whole_units_once_each(rows, size, seed):
    scores, wholes = (list(column) for column in zip(*rows, strict=True))
    probe = choose_probe(scores, ["g"] * len(rows), list(map(str, wholes)), size, seed)
    places = probe.places.tolist()
    assert places == sorted(set(places)) != []
    asked = {wholes[place] for place in places}
    assert places == [place for place, whole in enumerate(wholes) if whole in asked]
    assert probe.shares.sum() == pytest.approx(1)
    assert set(probe.strata.tolist()) == set(range(len(probe.shares)))
    assert 0 <= probe.estimate(np.array(scores)[places]) <= 1
    assert probe.interval(np.array(scores)[places], 0).low >= 0
