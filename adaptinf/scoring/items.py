"""What a benchmark consists of: questions with what is right, a judge of one answer, and totals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaptinf.scoring.choices import LETTERS

Rules = str


@dataclass(frozen=True, slots=True)
class Item:
    """A question as LLaVA-1.5 asks it.

    ``text`` has no image marks; ``images`` are names in the benchmark's folder of images. ``right``
    is whatever the judge needs, and None in a test split, which keeps that to itself. ``groups``
    are what totals are taken by besides, as in category. ``options`` are the texts that a question
    of multiple choice offers; ``row`` is what an upload repeats of the label file.
    """

    question_id: str
    text: str
    images: tuple[str, ...]
    right: Any
    groups: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    row: Mapping[str, str] = field(default_factory=dict)

    @property
    def answer(self) -> str:
        """What is right, as people read it.

        Of several answers the one that most have given; an option with its letter.
        """
        options = dict(zip(LETTERS, self.options, strict=False))
        if isinstance(self.right, str) and self.right in options:
            return f"{self.right}. {options[self.right]}"
        if isinstance(self.right, list):
            return Counter(map(str, self.right)).most_common(1)[0][0] if self.right else ""
        return "" if self.right is None else str(self.right)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer is worth, in [0, 1].

    ``lenient`` is its worth if its form is not held against it. ``said`` is what was read out of
    it; None where that could not be done. ``marks`` are what a judge gave, in its own scale, where
    totals want them. What does not count (``counts``) is left out of all numbers, and said to be.
    """

    score: float
    lenient: float
    said: str | None
    marks: tuple[float, ...] = ()
    counts: bool = True

    @classmethod
    def of(cls, right: bool, said: str | None, lenient: bool | None = None) -> Verdict:
        """Of an answer that is right or wrong."""
        return cls(float(right), float(right if lenient is None else right or lenient), said)


Totals = dict[str, float]


@dataclass(frozen=True, slots=True)
class Files:
    """Contents by name, relative to the upload; of one that is a single file the name is empty.

    ``note`` says what had to be put in place of answers, where something had to.
    """

    contents: Mapping[str, bytes]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Upload:
    """The form in which a server or an official tool takes the answers to a benchmark.

    ``files`` makes it of all items and their answers, in the same order. ``suffix`` is that of the
    file; a folder has none.
    """

    suffix: str
    files: Callable[[Sequence[Item], Sequence[str]], Files]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a language model that judges is sent about one answer.

    ``reminder`` is put behind ``text`` where its reply could not be read; ``tokens`` bound the
    reply. ``origin`` says whose words these are.
    """

    system: str
    text: str
    reminder: str
    tokens: int
    origin: str

    def messages(self, *, reminded: bool = False) -> list[dict[str, str]]:
        """As ``chat/completions`` takes them."""
        text = f"{self.text}{self.reminder}" if reminded else self.text
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": text}]


@dataclass(frozen=True, slots=True)
class ByJudge:
    """How a language model is asked, and the replies by which an answer is worth least and most."""

    prompt: Callable[[Item, str], Prompt]
    least: str
    most: str


@dataclass(frozen=True, slots=True)
class Replies:
    """What a judge replied, by question id; the names it gave itself, and whose the prompts are."""

    judge: str
    texts: Mapping[str, str]
    answered_by: tuple[str, ...]
    prompts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A published benchmark.

    ``rules`` are the sets of rules that are known, the default first. ``read`` gives the items of
    its label files, in their order. ``judge`` values the answer to one item (None: there is none);
    ``total`` turns all verdicts into numbers in percent, the headline first. ``labels`` says which
    files are wanted, ``source`` where the rules are from.
    ``pictures`` writes images that stand inside the labels into a folder, by the items' names.
    ``upload`` is the form that its server or its own tool wants, where it has one.
    Where a language model judges (``by_judge``), ``judge`` values its reply and not the answer.
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
    upload: Upload | None = None
    by_judge: ByJudge | None = None

    @property
    def judged(self) -> bool:
        """Whether its answers cannot be scored without the replies of a language model."""
        return self.by_judge is not None


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
