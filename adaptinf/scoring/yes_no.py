"""Answers to questions of yes or no."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


def pope_answer(text: str) -> str:
    """POPE's rule: "no" where the first sentence has the word No, no or not; else "yes"."""
    words = text.split(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "not", "no"} & set(words) else "yes"


def mme_answer(text: str) -> str:
    """MME's rule: yes or no, alone or within the first four characters; else "other"."""
    lowered = text.lower().strip().replace(".", "")
    if lowered in ("yes", "y"):
        return "yes"
    if lowered in ("no", "n"):
        return "no"
    start = lowered[:4]
    return "yes" if "yes" in start else "no" if "no" in start else "other"


def lenient_answer(text: str) -> str:
    """Yes or no where one of the words stands alone in the text, in any case; else "other"."""
    words = set(re.findall(r"\w+", text.lower()))
    yes, no = bool(words & {"yes", "yeah", "yep"}), bool(words & {"no", "not", "nope"})
    return "other" if yes == no else "yes" if yes else "no"


@dataclass(frozen=True, slots=True)
class Confusion:
    """How answers of "yes" and "no" lie to the labels; "yes" is what is looked for."""

    hits: int
    false_alarms: int
    misses: int
    rejections: int

    @classmethod
    def of(cls, answers: Sequence[str], labels: Sequence[str]) -> Confusion:
        """Counts of pairs of answer and label, each "yes" or "no"."""
        pairs = list(zip(answers, labels, strict=True))
        return cls(
            pairs.count(("yes", "yes")),
            pairs.count(("yes", "no")),
            pairs.count(("no", "yes")),
            pairs.count(("no", "no")),
        )

    @property
    def total(self) -> int:
        """Pairs."""
        return self.hits + self.false_alarms + self.misses + self.rejections

    @property
    def accuracy(self) -> float:
        """Share of right answers; 0 of none."""
        return _ratio(self.hits + self.rejections, self.total)

    @property
    def precision(self) -> float:
        """Share of right ones among answers of "yes"; 0 where there is none."""
        return _ratio(self.hits, self.hits + self.false_alarms)

    @property
    def recall(self) -> float:
        """Share of labels of "yes" that were found; 0 where there is none."""
        return _ratio(self.hits, self.hits + self.misses)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return _ratio(2 * self.hits, 2 * self.hits + self.false_alarms + self.misses)

    @property
    def yes_share(self) -> float:
        """Share of answers of "yes"."""
        return _ratio(self.hits + self.false_alarms, self.total)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
