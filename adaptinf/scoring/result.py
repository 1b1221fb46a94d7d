"""A benchmark's answers, scored: numbers, and what became of every question and every answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
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

    def json(self) -> str:
        """All of it as JSON."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)


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
    if not labels.exists():
        raise UserError("no such labels", where=str(labels), hint=f"expected {benchmark.labels}")
    return score(benchmark, benchmark.read(labels), read_answers(answers), rules)


def score(benchmark: Benchmark, items: Sequence[Item], answers: Answers, rules: str) -> Result:
    """Score answers to items. Raises as ``result_of`` does."""
    return result_of(benchmark, items, answers, judged(benchmark, items, answers, rules), rules)


def judged(
    benchmark: Benchmark, items: Sequence[Item], answers: Answers, rules: str
) -> list[Verdict]:
    """What the answer to each item is worth: nothing where there is none."""
    texts = (answers.texts.get(item.question_id) for item in items)
    return [
        _NOTHING if text is None else benchmark.judge(item, text, rules)
        for item, text in zip(items, texts, strict=True)
    ]


def result_of(
    benchmark: Benchmark,
    items: Sequence[Item],
    answers: Answers,
    verdicts: Sequence[Verdict],
    rules: str,
) -> Result:
    """What answers to items add up to, once they are judged.

    Raises:
        UserError: no items, two of one id, or not one answer to any of them.
    """
    places = {item.question_id: place for place, item in enumerate(items)}
    if len(places) != len(items) or not items:
        raise UserError("the labels have no questions, or two of one id", where=benchmark.name)
    order = [places[ident] for ident in answers.texts if ident in places]
    if not order:
        raise UserError(
            "not one answer is to a question of these labels",
            where=benchmark.name,
            seen=", ".join(list(answers.texts)[:_NAMED]),
            hint=f"ids are like {', '.join(list(places)[:_NAMED])}",
        )
    missing = [item.question_id for item in items if item.question_id not in answers.texts]
    unread = [
        item.question_id
        for item, verdict in zip(items, verdicts, strict=True)
        if verdict.said is None and item.question_id in answers.texts
    ]
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
