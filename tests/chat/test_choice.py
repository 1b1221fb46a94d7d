"""Which step a question goes to, and how well that is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adaptinf.chat import learning
from adaptinf.chat.choice import Best, Choice, Chooser
from adaptinf.chat.experience import Example, Experience
from adaptinf.evaluation.intervals import share_interval

STEPS = ("base", "1-shop", "2-invoices")
PLACES = {"read": (0.0, 1.0), "count": (1.0, 0.0), "other": (0.7, 0.7)}


def examples(skill: str, *scores: tuple[float, ...], seen: str = "") -> list[Example]:
    """Questions that look like those of the skill ``seen``."""
    return [Example(skill, seen or skill, (), one) for one in scores]


@pytest.fixture(autouse=True)
def _looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question's look is where its text says, a little apart from its like."""

    def looks(known: list[Example], *_: object) -> np.ndarray:
        nudges = np.linspace(-0.05, 0.05, len(known))[:, None]
        return (np.array([PLACES[one.text] for one in known]) + nudges).astype(np.float32)

    monkeypatch.setattr(learning, "_looks", looks)


# In percent of each step: counting was lost, reading was learned last.
LEARNED = [
    *examples("count", *[(0.0, 100.0, 0.0)] * 6),
    *examples("read", *[(0.0, 0.0, 100.0)] * 6),
]


def learned(held_out: list[Example]) -> tuple[Chooser, learning.Measured | None]:
    found = learning.learn(Experience(STEPS, [], LEARNED, held_out), None, None)
    assert found is not None
    return found


def test_a_question_goes_to_the_step_that_scored_best_on_its_skill() -> None:
    chooser, measured = learned([])
    assert measured is None
    assert chooser.best == {"count": Best("1-shop", 100.0), "read": Best("2-invoices", 100.0)}
    near = chooser.choose(np.array([1.0, 0.0], dtype=np.float32))
    assert (near.step, near.skill) == ("1-shop", "count") and near.confidence > 0.9
    assert "1-shop scored best, 100.0" in near.reason


def test_what_is_unsure_or_unlike_anything_goes_to_the_latest() -> None:
    chooser, _ = learned([])
    far = chooser.choose(np.array([9.0, 0.0], dtype=np.float32))
    latest = "like nothing known, so the latest step"
    assert far == Choice("2-invoices", None, 0.0, latest)
    # The classifier's own confidence cannot fall below a half with two skills.
    strict = Chooser(
        chooser.skills,
        np.zeros_like(chooser.weights),
        np.zeros_like(chooser.bias),
        chooser.middles,
        np.full_like(chooser.reach, 9.0),
        chooser.best,
        chooser.latest,
        least=0.6,
    )
    unsure = strict.choose(np.array([1.0, 0.0], dtype=np.float32))
    assert unsure.step == "2-invoices" and unsure.confidence == 0.5


def test_it_is_measured_on_questions_that_were_held_out() -> None:
    held_out = [
        *examples("count", *[(0.0, 100.0, 0.0)] * 4),  # sent to 1-shop, rightly
        *examples("count", *[(0.0, 100.0, 0.0)] * 1, seen="read"),  # sent to 2-invoices, wrongly
        *examples("read", (0.0, 100.0, 0.0), *[(0.0, 0.0, 100.0)] * 2),
        # Reading: 2-invoices is right twice, 1-shop once: three questions do not tell them apart.
    ]
    _, measured = learned(held_out)
    assert measured is not None
    assert measured.questions == 8
    assert measured.right == measured.equal == pytest.approx(100 * 7 / 8)
    assert measured.skills == pytest.approx(100 * 7 / 8)
    assert measured.unsure == 0
    assert measured.auto == pytest.approx(100 * 6 / 8)  # four counted, two read
    assert measured.latest == pytest.approx(100 * 2 / 8)
    # Counting 100 % of five, reading two thirds of three.
    assert measured.best == pytest.approx((5 * 100 + 3 * 200 / 3) / 8)
    low, high = measured.interval
    assert low < 87.5 < high < 100


def test_a_step_within_chance_of_the_best_is_right_and_not_equal() -> None:
    # Learned from: 2-invoices reads best. Held out: 1-shop does, by one of four.
    held_out = examples("read", (0.0, 100.0, 0.0), *[(0.0, 100.0, 100.0)] * 3)
    _, measured = learned(held_out)
    assert measured is not None
    assert (measured.right, measured.equal) == (100.0, 0.0)
    # Of sixteen that all say so, it is no longer chance.
    _, measured = learned(examples("read", *[(0.0, 100.0, 0.0)] * 16))
    assert measured is not None and measured.right == 0.0


def test_ties_go_to_the_later_step_and_unmeasured_skills_to_the_latest() -> None:
    known = Experience(
        STEPS, [Example("other", "other", ())] * 4, examples("count", (9.0, 9.0, 3.0)), []
    )
    found = learning.learn(known, None, None)
    assert found is not None
    assert found[0].best == {"count": Best("1-shop", 9.0), "other": Best("2-invoices", None)}
    other = found[0].choose(np.array(PLACES["other"], dtype=np.float32))
    assert (other.step, other.skill) == ("2-invoices", "other")
    assert other.reason.endswith("which no benchmark measures")
    assert learning.learn(Experience(STEPS, [], [], []), None, None) is None


def test_one_skill_is_every_question(tmp_path: Path) -> None:
    known = Experience(STEPS, [], examples("count", *[(0.0, 100.0, 0.0)] * 4), [])
    found = learning.learn(known, None, None)
    assert found is not None
    assert found[0].choose(np.array([1.0, 0.0], dtype=np.float32)).step == "1-shop"


def test_it_is_kept_for_the_same_run_alone(tmp_path: Path) -> None:
    chooser, measured = learned(examples("count", (0.0, 100.0, 0.0)))
    assert measured is not None
    chooser.save(tmp_path / "chat", "key", measured.json())
    again = Chooser.load(tmp_path / "chat", "key")
    assert again is not None
    for place in PLACES.values():
        seen = np.array(place, dtype=np.float32)
        assert again.choose(seen) == chooser.choose(seen)
    assert Chooser.load(tmp_path / "chat", "another") is None
    (tmp_path / "chat" / "choice.npz").write_bytes(b"no arrays")
    assert Chooser.load(tmp_path / "chat", "key") is None
    assert Chooser.load(tmp_path, "key") is None


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    # All: n / (n + z^2), z = 1.95996. Half of ten: the textbook's 0.2366 to 0.7634.
    [(1400, 1400, 1400 / 1403.8415, 1.0), (0, 4, 0.0, 3.8415 / 7.8415), (5, 10, 0.2366, 0.7634)],
)
def test_the_interval_of_a_share(hits: int, n: int, low: float, high: float) -> None:
    found = share_interval(hits, n)
    assert found.low == pytest.approx(low, abs=1e-4)
    assert found.high == pytest.approx(high, abs=1e-4)
