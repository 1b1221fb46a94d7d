"""Scorers of one answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptinf.errors import UserError
from adaptinf.evaluation.scorers import SCORERS, scorer


@pytest.mark.parametrize(
    ("prediction", "answer", "score"),
    [
        ("Red", "red", 1.0),
        ("  a  red\ncircle. ", "A red circle", 1.0),
        ("yes .", "yes", 1.0),
        ("STRASSE", "straße", 1.0),
        ("3..", "3", 0.0),
        ("no", "yes", 0.0),
        ("", "yes", 0.0),
        ("3.5", "35", 0.0),
    ],
)
def test_exact(prediction: str, answer: str, score: float) -> None:
    assert scorer("exact")(prediction, answer) == score


@pytest.mark.parametrize(
    ("prediction", "answer", "score"),
    [
        ("a red circle top left, a blue square bottom right.",) * 2 + (1.0,),
        ("A blue square and a red circle", "a red circle, a blue square", 1.0),
        ("a red circle, and a blue square", "a red circle and a blue square", 1.0),
        # 1 right of 2 said, of 3 expected: 2 x 1 / (2 + 3).
        ("a red circle, a dog", "a red circle, a cat, a cow", 0.4),
        # Said twice, there once: overlap 1, 2 x 1 / (2 + 1); and the other way round.
        ("a cat, a cat", "a cat", 2 / 3),
        ("a cat", "a cat, a cat", 2 / 3),
        ("a band in the sand", "a band in the sand", 1.0),
        ("sand", "s", 0.0),
        ("", "a cat", 0.0),
        ("a cat", "", 0.0),
        ("", "", 1.0),
        (", and ,", ".", 1.0),
    ],
)
def test_phrases(prediction: str, answer: str, score: float) -> None:
    assert scorer("phrases")(prediction, answer) == pytest.approx(score)


SYMMETRIC = ("exact", "phrases", "words", "transcription")


@given(
    st.sampled_from(SYMMETRIC), st.text("ab and,. ", max_size=20), st.text("ab and,.", max_size=20)
)
def test_scores_are_symmetric_and_one_for_the_answer_itself(name: str, one: str, two: str) -> None:
    score = scorer(name)
    assert score(one, one) == 1.0
    assert score(one, two) == score(two, one)
    assert 0.0 <= score(one, two) <= 1.0


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(UserError, match=r"'exakt'.*did you mean 'exact'"):
        scorer("exakt")


def test_names() -> None:
    assert set(SYMMETRIC) < set(SCORERS)
    assert SCORERS[0] == "exact"


@pytest.mark.parametrize(
    ("metric", "prediction", "answer", "score"),
    [
        ("words", "The two dogs!", "2 dogs", 1.0),
        ("words", "dogs", "2 dogs", 0.0),
        ("contains", "It is a red bus, I think.", "red bus", 1.0),
        ("contains", "reddish bus", "red", 0.0),
        ("contains", "anything", "", 0.0),
        ("letter", "(B) blue", "B", 1.0),
        ("letter", "b", "B", 1.0),
        ("letter", "B: blue", "b", 1.0),
        ("letter", "Blue", "B", 0.0),
        ("letter", "", "B", 0.0),
        ("yes-no", "No, it is not.", "no", 1.0),
        ("yes-no", "yes and no", "yes", 0.0),
        ("transcription", "EXlT ", "EXIT", 0.75),
    ],
)
def test_further_metrics(metric: str, prediction: str, answer: str, score: float) -> None:
    assert scorer(metric)(prediction, answer) == score
