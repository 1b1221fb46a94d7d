"""VQA accuracy: an answer counts by how many of ten people gave it (Antol et al. 2015)."""

from __future__ import annotations

from collections.abc import Sequence

from adaptinf.scoring.words import cleaned, flat, normalised


def agreement(answer: str, people: Sequence[str]) -> float:
    """Mean over people of ``min(1, others who gave it / 3)``, each left out in turn.

    With ten people 0, 0.3, 0.6, 0.9 and 1 for none, one, two, three, and four or more.
    """
    same = sum(answer == other for other in people)
    shares = (min(1.0, (same - (answer == left_out)) / 3) for left_out in people)
    return sum(shares) / len(people)


def m4c_accuracy(answer: str, people: Sequence[str]) -> float:
    """Both sides normalised: LLaVA and lmms-eval."""
    return agreement(normalised(answer), [normalised(other) for other in people])


def vqa_accuracy(answer: str, people: Sequence[str]) -> float:
    """The evaluation code of VQA: nothing is normalised where all people agree."""
    answer, people = flat(answer), [flat(other) for other in people]
    if len(set(people)) > 1:
        answer, people = cleaned(answer), [cleaned(other) for other in people]
    return agreement(answer, people)


def direct_accuracy(answer: str, people: Sequence[str]) -> float:
    """A-OKVQA's direct answers: ``min(1, people who gave it / 3)``, compared as they are."""
    return min(1.0, sum(answer == other for other in people) / 3)
