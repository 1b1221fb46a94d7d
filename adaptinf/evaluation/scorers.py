"""Scorers of one answer, by the name that a benchmark gives as its metric."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

from adaptinf.errors import UserError, suggestion
from adaptinf.scoring import words
from adaptinf.scoring.transcription import similarity
from adaptinf.scoring.yes_no import lenient_answer

Scorer = Callable[[str, str], float]

_LETTER = re.compile(r"\(?([A-Za-z])(?:[).:\s]|$)")
_PHRASE_ENDS = re.compile(r",|\band\b")


def normalised(text: str) -> str:
    """``text`` case-folded, white space collapsed, without one trailing full stop."""
    return " ".join(text.casefold().split()).removesuffix(".").rstrip()


def exact(prediction: str, answer: str) -> float:
    """1.0 where both texts are equal once normalised, else 0.0."""
    return float(normalised(prediction) == normalised(answer))


def phrases(prediction: str, answer: str) -> float:
    """F1 in [0, 1] between the phrases of both texts, in any order.

    Phrases end at a comma or at the word "and". A phrase said twice counts twice, so repeating a
    right phrase lowers precision. Two texts without phrases agree (1.0).
    """
    said, expected = _phrase_counts(prediction), _phrase_counts(answer)
    if not said and not expected:
        return 1.0
    return 2 * (said & expected).total() / (said.total() + expected.total())


def _phrase_counts(text: str) -> Counter[str]:
    parts = (part.strip() for part in _PHRASE_ENDS.split(normalised(text)))
    return Counter(part for part in parts if part)


def vqa_words(prediction: str, answer: str) -> float:
    """1.0 where both are equal by the rules of VQA: articles, signs and spelt numbers aside."""
    return float(words.normalised(prediction) == words.normalised(answer))


def contains(prediction: str, answer: str) -> float:
    """1.0 where the words of the answer stand in the text, by the same rules."""
    wanted = words.normalised(answer)
    return float(bool(wanted) and f" {wanted} " in f" {words.normalised(prediction)} ")


def letter(prediction: str, answer: str) -> float:
    """1.0 where the text begins with the right option's letter: ``B``, ``(B)``, ``B. blue``."""
    found = _LETTER.match(prediction.strip())
    return float(found is not None and found[1].upper() == answer.strip().upper())


def yes_no(prediction: str, answer: str) -> float:
    """1.0 where the text says yes or no as the answer does, and not both."""
    return float(lenient_answer(prediction) == answer.strip().lower())


def transcription(prediction: str, answer: str) -> float:
    """1 minus the edit distance, as a share of the longer text."""
    return similarity(prediction.strip(), answer.strip())


_BY_NAME: dict[str, Scorer] = {
    "exact": exact,
    "phrases": phrases,
    "words": vqa_words,
    "contains": contains,
    "letter": letter,
    "yes-no": yes_no,
    "transcription": transcription,
}

SCORERS = tuple(_BY_NAME)


def scorer(name: str) -> Scorer:
    """The scorer called ``name``: ``score(prediction, answer)`` in [0, 1].

    Raises:
        UserError: no scorer has that name.
    """
    if name not in _BY_NAME:
        raise UserError("unknown metric", seen=name, hint=suggestion(name, SCORERS))
    return _BY_NAME[name]
