"""A benchmark's answers, scored: numbers, and what became of every question and every answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adaptinf.errors import UserError, suggestion
from adaptinf.evaluation.intervals import bootstrap_interval
from adaptinf.scoring.benchmarks import BENCHMARKS
from adaptinf.scoring.files import Answers, read_answers
from adaptinf.scoring.items import Benchmark, Item, Totals, Verdict, percent

_NOTHING = Verdict(0.0, 0.0, None)
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Every question is ``answered`` or ``missing``; every line of answers is used or one of these.

    ``unread`` are answers out of which nothing could be read. Missing and unread ones are wrong.
    ``extra`` answers are to no question; of ``repeated`` ones, and of those ``contradicted`` by
    another text later, the first counts; ``malformed`` lines hold no answer. ``other_order``: the
    answers do not stand in the order of the questions, which makes no difference.
    """

    questions: int
    answered: int
    missing: int
    unread: int
    extra: int
    repeated: int
    contradicted: int
    malformed: int
    other_order: bool


@dataclass(frozen=True, slots=True)
class Result:
    """``totals`` as the benchmark has them, the headline first.

    ``mean`` is that of the single questions in percent, with its 95 % ``interval`` from a
    bootstrap over questions, and ``lenient`` the same where an answer's form is not held against
    it. ``examples`` name some of the questions and lines behind the outcomes.
    """

    benchmark: str
    rules: str
    source: str
    totals: Totals
    mean: float
    interval: tuple[float, float]
    lenient: float
    outcomes: Outcomes
    examples: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Uploaded:
    """An upload file, or a folder, that was written; ``note`` says what it has in place of answers.

    That is rare: see ``adaptinf.scoring.items.Files``.
    """

    file: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Unscored:
    """Answers to so many questions that have no score, and why."""

    benchmark: str
    items: int
    why: str
    upload: Uploaded | None = None


NO_LABELS = "no labels: nothing scored"
"""Why answers to a test split have no score."""


def find_benchmark(name: str, rules: str | None) -> tuple[Benchmark, str]:
    """A published benchmark and the rules to score it by, its first ones where None are given.

    Raises:
        UserError: an unknown name.
    """
    if name not in BENCHMARKS:
        raise UserError("unknown benchmark", seen=name, hint=suggestion(name, BENCHMARKS))
    benchmark = BENCHMARKS[name]
    if rules is not None and rules not in benchmark.rules:
        hint = f"{name} has {' and '.join(benchmark.rules)}"
        raise UserError("unknown rules", where=name, seen=rules, hint=hint)
    return benchmark, rules or benchmark.rules[0]


def score_files(name: str, answers: Path, labels: Path, rules: str | None = None) -> Result:
    """Score a file of answers, in LLaVA's form, against a benchmark's own label files.

    Raises:
        UserError: an unknown benchmark, or files that are not what is wanted.
    """
    benchmark, rules = find_benchmark(name, rules)
    return score(benchmark, read_items(benchmark, labels), read_answers(answers), rules)


def read_items(benchmark: Benchmark, labels: Path) -> list[Item]:
    """The questions of a benchmark's label files, each with what is right or all without.

    Raises:
        UserError: no files, no questions, two of one id, or labels of some questions alone.
    """
    if not labels.exists():
        raise UserError("no such labels", where=str(labels), hint=f"expected {benchmark.labels}")
    items = benchmark.read(labels)
    _require_sound(items, str(labels))
    return items


def _require_sound(items: Sequence[Item], where: str) -> None:
    if len({item.question_id for item in items}) != len(items) or not items:
        raise UserError("the labels have no questions, or two of one id", where=where)
    bare = [item.question_id for item in items if item.right is None]
    if 0 < len(bare) < len(items):
        raise UserError(
            f"{len(items) - len(bare):,} questions have labels and {len(bare):,} have none",
            where=where,
            seen=", ".join(bare[:_NAMED]),
            hint="give a file of one split",
        )


def are_labelled(items: Sequence[Item]) -> bool:
    """Whether it is told what is right, and not kept secret as in a test split."""
    return all(item.right is not None for item in items)


def score(benchmark: Benchmark, items: Sequence[Item], answers: Answers, rules: str) -> Result:
    """Score answers to items.

    Raises:
        UserError: ``read_items`` would not give such items, it is not told what is right, or
            there is not one answer to any of them.
    """
    _require_sound(items, benchmark.name)
    if not are_labelled(items):
        raise UserError(
            f"{NO_LABELS}. The label files do not tell what is right",
            where=benchmark.name,
            hint=f"give {benchmark.labels}"
            + (", or write what a server takes with --upload FILE" if benchmark.upload else ""),
        )
    places = {item.question_id: place for place, item in enumerate(items)}
    order = [places[ident] for ident in answers.texts if ident in places]
    if not order:
        raise UserError(
            "not one answer is to a question of these labels",
            where=benchmark.name,
            seen=", ".join(list(answers.texts)[:_NAMED]),
            hint=f"ids are like {', '.join(list(places)[:_NAMED])}",
        )
    verdicts = []
    missing: list[str] = []
    unread: list[str] = []
    for item in items:
        text = answers.texts.get(item.question_id)
        if text is None:
            missing.append(item.question_id)
            verdicts.append(_NOTHING)
            continue
        verdict = benchmark.judge(item, text, rules)
        if verdict.said is None:
            unread.append(item.question_id)
        verdicts.append(verdict)
    scores = [100 * verdict.score for verdict in verdicts]
    interval = bootstrap_interval(scores, seed=0)
    found = {
        "missing": missing,
        "unread": unread,
        "extra": [ident for ident in answers.texts if ident not in places],
        "repeated": answers.repeated,
        "contradicted": answers.contradicted,
        "malformed": [f"line {number}" for number in answers.malformed],
    }
    return Result(
        benchmark=benchmark.name,
        rules=rules,
        source=benchmark.source,
        totals=benchmark.total(items, verdicts, rules),
        mean=sum(scores) / len(scores),
        interval=(interval.low, interval.high),
        lenient=percent([verdict.lenient for verdict in verdicts]),
        outcomes=Outcomes(
            questions=len(items),
            answered=len(items) - len(missing),
            other_order=order != sorted(order),
            **{name: len(those) for name, those in found.items()},
        ),
        examples={name: those[:_NAMED] for name, those in found.items() if those},
    )
