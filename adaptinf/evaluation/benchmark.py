"""What a benchmark is to those who ask it: questions, whose answers it marks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from adaptinf.data.images import BadImage, locate
from adaptinf.data.sample import IMAGE_MARK, Turn
from adaptinf.errors import UserError
from adaptinf.scoring.items import Item, Totals
from adaptinf.scoring.result import Result

_LISTED = 3


def asked(text: str, n_images: int) -> Turn:
    """A question as models are asked here: its images before its words."""
    return Turn("user", IMAGE_MARK * n_images + text)


@dataclass(frozen=True, slots=True)
class Question:
    """One question, and what is right as people read it.

    ``images`` are paths relative to the benchmark's image root. ``item`` is what the judge of a
    published benchmark needs.
    """

    question_id: str
    text: str
    answer: str
    images: tuple[str, ...]
    item: Item | None = None

    @property
    def prompt(self) -> str:
        """The text behind a mark for each image."""
        return asked(self.text, len(self.images)).text


@dataclass(frozen=True, slots=True)
class Marks:
    """What answers are worth.

    ``scores`` are in [0, 1], one for each question. ``totals`` are the benchmark's own numbers, the
    headline first. ``official`` accounts for all of it by published rules; None of one's own.
    """

    scores: list[float]
    totals: Totals
    official: Result | None = None


@dataclass(frozen=True, slots=True)
class Benchmark(ABC):
    """Questions about one skill.

    ``images`` is the folder of their images, ``metric`` says how an answer is scored and ``kind``
    what a score is: an accuracy, or a similarity that is not averaged with accuracies.
    ``taught_by`` names the datasets that train the skill; a benchmark of none is only watched for
    what the base model loses. ``rules`` are those of a published benchmark.
    """

    name: str
    skill: str
    images: Path
    metric: str
    max_new_tokens: int
    taught_by: tuple[str, ...]
    kind: str = "accuracy"
    rules: str | None = None

    @property
    @abstractmethod
    def files(self) -> Mapping[str, Path]:
        """Files that decide what is asked and how it is scored; none where the questions do."""

    @abstractmethod
    def items(self, limit: int | None = None) -> list[Question]:
        """The questions in file order, the first ``limit`` of them.

        Raises:
            UserError: a file that is not what is wanted, with its place.
        """

    @abstractmethod
    def mark(self, questions: Sequence[Question], texts: Sequence[str]) -> Marks:
        """What the answers to some of the questions are worth.

        Raises:
            UserError: a scorer of one's own fails.
        """

    @abstractmethod
    def unscored(self, questions: Sequence[Question]) -> str | None:
        """Why answers to these questions cannot be marked here; None where they can."""

    @abstractmethod
    def whole(self, question: Question) -> str | None:
        """Names what a question is asked with or not at all; None: it stands alone."""

    @abstractmethod
    def prepare(self) -> None:
        """Write the images that stand inside label files, where there are such, once."""


def require_images(benchmark: Benchmark, questions: Sequence[Question]) -> None:
    """Before hours of answering, that no image is missing.

    Raises:
        UserError: some are, or lie outside of the folder.
    """
    missing = []
    for name in dict.fromkeys(name for question in questions for name in question.images):
        try:
            if not locate(benchmark.images, name).is_file():
                missing.append(name)
        except BadImage:
            missing.append(name)
    if missing:
        raise UserError(
            f"{len(missing)} images of {benchmark.name} are missing",
            where=str(benchmark.images),
            seen=", ".join(missing[:_LISTED]),
            hint="put them there, or a link to their folder under the name images",
        )
