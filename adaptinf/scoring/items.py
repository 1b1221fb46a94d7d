"""What a benchmark consists of: questions with what is right, a judge of one answer, and totals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Rules = str


@dataclass(frozen=True, slots=True)
class Item:
    """A question as LLaVA-1.5 asks it.

    ``text`` has no image marks; ``images`` are names in the benchmark's folder of images. ``right``
    is whatever the judge needs. ``groups`` are what totals are taken by besides, as in category.
    """

    question_id: str
    text: str
    images: tuple[str, ...]
    right: Any
    groups: Mapping[str, str] = field(default_factory=dict)

    @property
    def answer(self) -> str:
        """What is right, as people read it; of several answers the one that most have given."""
        if isinstance(self.right, list):
            return Counter(map(str, self.right)).most_common(1)[0][0] if self.right else ""
        return "" if self.right is None else str(self.right)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer is worth, in [0, 1].

    ``lenient`` is its worth if its form is not held against it. ``said`` is what was read out of
    it; None where that could not be done.
    """

    score: float
    lenient: float
    said: str | None

    @classmethod
    def of(cls, right: bool, said: str | None, lenient: bool | None = None) -> Verdict:
        """Of an answer that is right or wrong."""
        return cls(float(right), float(right if lenient is None else right or lenient), said)


Totals = dict[str, float]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A published benchmark.

    ``rules`` are the sets of rules that are known, the default first. ``read`` gives the items of
    its label files, in their order. ``judge`` values the answer to one item (None: there is none);
    ``total`` turns all verdicts into numbers in percent, the headline first. ``labels`` says which
    files are wanted, ``source`` where the rules are from.
    ``pictures`` writes images that stand inside the labels into a folder, by the items' names.
    ``kind`` says what the worth of one answer is: an accuracy, or the similarity of that name, of
    which the mean is not to be averaged with accuracies. ``together`` names what an item is to be
    asked with or not at all, so that totals of a part are what they are of the whole.
    """

    name: str
    rules: tuple[Rules, ...]
    labels: str
    read: Callable[[Path], list[Item]]
    judge: Callable[[Item, str, Rules], Verdict]
    total: Callable[[Sequence[Item], Sequence[Verdict], Rules], Totals]
    source: str = ""
    pictures: Callable[[Path, Path], None] | None = None
    kind: str = "accuracy"
    together: Callable[[Item], str] | None = None


def means(items: Sequence[Item], verdicts: Sequence[Verdict], rules: Rules = "") -> Totals:
    """The mean over all items, then over those of each group."""
    totals = {"accuracy": percent([v.score for v in verdicts])}
    for key in dict.fromkeys(key for item in items for key in item.groups):
        by_value: dict[str, list[float]] = {}
        for item, verdict in zip(items, verdicts, strict=True):
            if key in item.groups:
                by_value.setdefault(item.groups[key], []).append(verdict.score)
        totals |= {f"{key} {value}": percent(found) for value, found in sorted(by_value.items())}
    return totals


def percent(scores: Sequence[float]) -> float:
    """The mean in percent; 0 of none."""
    return 100 * sum(scores) / len(scores) if scores else 0.0
