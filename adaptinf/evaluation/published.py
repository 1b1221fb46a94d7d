"""Published benchmarks out of their own label files, by their own rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adaptinf.errors import UserError
from adaptinf.evaluation.benchmark import Benchmark, Marks, Question
from adaptinf.folders import whole
from adaptinf.scoring.files import Answers
from adaptinf.scoring.items import Benchmark as Rulebook
from adaptinf.scoring.items import Item
from adaptinf.scoring.result import (
    NO_JUDGE,
    NO_LABELS,
    are_labelled,
    find_benchmark,
    read_items,
    result_of,
    verdicts_of,
)

NEW_TOKENS = {"targets": 1024, "scienceqa": 1024, "llava_bench": 1024, "mmvet": 1024}
"""Longest answers where they are not 128, as LLaVA has them."""

TAUGHT_BY: Mapping[str, tuple[str, ...]] = {
    "vqav2": ("llava", "m3it"),
    "gqa": ("llava", "m3it", "vision_flan"),
    "okvqa": ("llava", "m3it"),
    "aokvqa": ("llava", "m3it"),
    "textvqa": ("m3it",),
    "scienceqa": ("m3it", "scienceqa", "lavin"),
    "refcoco": ("llava", "refcoco"),
    "coco_captions": ("m3it", "coco_captions"),
    "chinese_captions": ("m3it",),
    "video": ("m3it",),
}
"""Datasets that hold training questions of the same benchmark; of all others none does.

LLaVA-665k has those of VQAv2, GQA, OK-VQA, A-OKVQA and RefCOCO, but of TextVQA only the images
(with TextCaps' captions). M3IT has configurations of these names, Vision-Flan a task ``GQA``.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedBenchmark(Benchmark):
    """A published benchmark whose label files are at ``labels``; ``book`` tells its rules."""

    labels: Path
    book: Rulebook

    @property
    def files(self) -> Mapping[str, Path]:
        """None: what is read out of the label files decides, however they are laid out."""
        return {}

    def items(self, limit: int | None = None) -> list[Question]:
        """The questions in file order, the first ``limit`` of them."""
        items = read_items(self.book, self.labels)[:limit]
        return [Question(i.question_id, i.text, i.answer, i.images, i) for i in items]

    def mark(self, questions: Sequence[Question], texts: Sequence[str]) -> Marks:
        """Scores of the answers by the rules, and the official totals of these questions."""
        items, answers, rules = items_of(questions), answers_of(questions, texts), str(self.rules)
        verdicts = verdicts_of(self.book, items, answers, rules)
        result = result_of(self.book, items, answers, verdicts, rules)
        return Marks([verdict.score for verdict in verdicts], result.totals, result)

    def unscored(self, questions: Sequence[Question]) -> str | None:
        """Test splits keep what is right to themselves, and some answers only a judge can value."""
        if not are_labelled(items_of(questions)):
            return NO_LABELS
        return NO_JUDGE if self.book.judged else None

    def whole(self, question: Question) -> str | None:
        """The turned copies of a question, or the questions about an image, where that counts."""
        together, item = self.book.together, question.item
        return together(item) if together is not None and item is not None else None

    def prepare(self) -> None:
        """Write the images that stand inside the label files, unless they are there."""
        if self.book.pictures is not None and not self.images.is_dir():
            with whole(self.images) as draft:
                self.book.pictures(self.labels, draft)


def items_of(questions: Sequence[Question]) -> list[Item]:
    """What questions of a published benchmark are made of."""
    return [question.item for question in questions if question.item is not None]


def answers_of(questions: Sequence[Question], texts: Sequence[str]) -> Answers:
    """Answers to these questions, in their order, as a file of them would give them."""
    ids = (question.question_id for question in questions)
    return Answers(dict(zip(ids, texts, strict=True)))


def kind_of(name: str) -> str:
    """The published benchmark that a name speaks of: ``targets`` of ``targets-vsr``."""
    return name.partition("-")[0]


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where published benchmarks lie: each in the folder of its name below ``root``.

    ``targets-vsr`` is the part ``vsr`` of the folder ``targets``: a file of that stem, or a folder.
    Images that stand inside label files are written below ``pictures``. ``rules`` are by name, the
    first known ones where none are given.
    """

    root: Path
    pictures: Path
    rules: Mapping[str, str] = field(default_factory=dict)

    def benchmark(self, name: str) -> PublishedBenchmark:
        """The benchmark of that name.

        Raises:
            UserError: its label files are not there, or it has no such rules.
        """
        kind = kind_of(name)
        book, rules = find_benchmark(kind, self.rules.get(name))
        labels = self._labels(name, book)
        folders = [f for f in (labels, self.root / kind) if f.is_dir()] or [self.root]
        images = next((f / "images" for f in folders if (f / "images").is_dir()), folders[0])
        return PublishedBenchmark(
            name=name,
            skill=name,
            images=images if book.pictures is None else self.pictures / name,
            metric=f"{rules} rules",
            max_new_tokens=NEW_TOKENS.get(kind, 128),
            taught_by=TAUGHT_BY.get(kind, ()),
            kind=book.kind,
            rules=rules,
            labels=labels,
            book=book,
        )

    def _labels(self, name: str, book: Rulebook) -> Path:
        kind, dash, part = name.partition("-")
        folder = self.root / kind
        if not dash and folder.exists():
            return folder
        # Compared and not joined: a name cannot lead out of the folder.
        inside = sorted(folder.iterdir()) if part and folder.is_dir() else []
        found = [path for path in inside if part in (path.name, path.stem)]
        if len(found) == 1:
            return found[0]
        fetch = f"download-datasets --benchmarks --root {self.root} {kind}"
        raise UserError(
            f"no labels of {name}" if not found else f"more than one thing is called {part}",
            where=str(folder / part),
            seen=", ".join(path.name for path in found) or None,
            hint=f"expected {book.labels}; {fetch}",
        )
