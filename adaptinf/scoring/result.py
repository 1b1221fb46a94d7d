"""A benchmark's answers, scored: numbers, and what became of every question and every answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from adaptinf.errors import UserError, suggestion
from adaptinf.evaluation.intervals import bootstrap_interval
from adaptinf.scoring.benchmarks import BENCHMARKS
from adaptinf.scoring.files import Answers, read_answers
from adaptinf.scoring.items import Benchmark, Item, Replies, Totals, Verdict, percent

_NOTHING = Verdict(0.0, 0.0, None)
_NAMED = 5
_SHOWN = 200


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
class Judging:
    """Who valued the answers: the model that was asked for, and the names that it gave itself.

    ``prompts`` tells whose words it was asked in. Of all verdicts (``judged``) some could not be
    read (``unread``), which is the judge's fault and not the model's. ``between`` are the headlines
    if those that the rules leave out were all the worst, and all the best; None if they leave out
    none.
    """

    judge: str
    answered_by: tuple[str, ...]
    prompts: tuple[str, ...]
    judged: int
    unread: int
    between: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Result:
    """``totals`` as the benchmark has them, the headline first.

    ``mean`` is that of the single questions in percent, with its 95 % ``interval`` from a
    bootstrap over questions, and ``lenient`` the same where an answer's form is not held against
    it. ``examples`` name some of the questions and lines behind the outcomes. ``judging`` is there
    where a language model valued the answers.
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
    judging: Judging | None = None


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

NO_JUDGE = "a judge is wanted: adaptinf score --judge"
"""Why answers that a language model has to value have none yet."""


def find_benchmark(name: str, rules: str | None) -> tuple[Benchmark, str]:
    """A published benchmark and the rules to score it by, its first ones where None are given.

    Raises:
        UserError: an unknown name, or unknown rules.
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
        UserError: an unknown benchmark, one that needs a judge, or files that are not what is
            wanted.
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


def score(
    benchmark: Benchmark,
    items: Sequence[Item],
    answers: Answers,
    rules: str,
    replies: Replies | None = None,
) -> Result:
    """Score answers to items, of some benchmarks by the replies of a judge to all of them.

    Raises:
        UserError: as ``verdicts_of`` and ``result_of`` do.
    """
    verdicts = verdicts_of(benchmark, items, answers, rules, replies)
    return result_of(benchmark, items, answers, verdicts, rules, replies)


def verdicts_of(
    benchmark: Benchmark,
    items: Sequence[Item],
    answers: Answers,
    rules: str,
    replies: Replies | None = None,
) -> list[Verdict]:
    """What the answer to each item is worth: nothing, or the worst, where there is none.

    Raises:
        UserError: ``read_items`` would not give such items, it is not told what is right, or there
            is no judge where one is needed.
    """
    _require_sound(items, benchmark.name)
    if not are_labelled(items):
        raise UserError(
            f"{NO_LABELS}. The label files do not tell what is right",
            where=benchmark.name,
            hint=f"give {benchmark.labels}"
            + (", or write what a server takes with --upload FILE" if benchmark.upload else ""),
        )
    _order(benchmark, items, answers)
    if benchmark.judged and replies is None:
        raise UserError(
            "these answers can only be valued by a language model that judges",
            where=benchmark.name,
            hint=f"adaptinf score --benchmark {benchmark.name} has one judge them, with --judge",
        )
    return [_verdict(benchmark, item, answers, rules, replies) for item in items]


def result_of(
    benchmark: Benchmark,
    items: Sequence[Item],
    answers: Answers,
    verdicts: Sequence[Verdict],
    rules: str,
    replies: Replies | None = None,
) -> Result:
    """What answers to items add up to, once each has its verdict.

    Raises:
        UserError: there is not one answer to any of them, or no verdict of the judge can be read.
    """
    order = _order(benchmark, items, answers)
    found, unjudged, judging = _found(items, verdicts, answers), [], None
    if replies is not None:  # what cannot be read is the judge's: nothing is wrong with the answer
        unjudged, found["unread"] = found["unread"], []
        judging = _judging(benchmark, items, verdicts, rules, replies, unjudged)
    asked = [item for item, verdict in zip(items, verdicts, strict=True) if verdict.counts]
    counted = [verdict for verdict in verdicts if verdict.counts]
    scores = [100 * verdict.score for verdict in counted]
    interval = bootstrap_interval(scores, seed=0)
    named = {**found, "unjudged": unjudged}
    return Result(
        benchmark=benchmark.name,
        rules=rules,
        source=f"{benchmark.source}, judged by {replies.judge}" if replies else benchmark.source,
        totals=benchmark.total(asked, counted, rules),
        mean=sum(scores) / len(scores),
        interval=(interval.low, interval.high),
        lenient=percent([verdict.lenient for verdict in counted]),
        outcomes=Outcomes(
            questions=len(items),
            answered=len(items) - len(found["missing"]),
            other_order=order != sorted(order),
            **{name: len(those) for name, those in found.items()},
        ),
        examples={name: those[:_NAMED] for name, those in named.items() if those},
        judging=judging,
    )


def _order(benchmark: Benchmark, items: Sequence[Item], answers: Answers) -> list[int]:
    """The places of the answered items, as the answers stand."""
    places = {item.question_id: place for place, item in enumerate(items)}
    order = [places[ident] for ident in answers.texts if ident in places]
    if not order:
        raise UserError(
            "not one answer is to a question of these labels",
            where=benchmark.name,
            seen=", ".join(list(answers.texts)[:_NAMED]),
            hint=f"ids are like {', '.join(list(places)[:_NAMED])}",
        )
    return order


def _verdict(
    benchmark: Benchmark, item: Item, answers: Answers, rules: str, replies: Replies | None
) -> Verdict:
    """Of a missing answer, the worst; no judge is asked about it."""
    text = answers.texts.get(item.question_id)
    if text is None and benchmark.by_judge is not None:
        return replace(benchmark.judge(item, benchmark.by_judge.least, rules), said=None)
    if text is None:
        return _NOTHING
    return benchmark.judge(item, replies.texts[item.question_id] if replies else text, rules)


def _found(
    items: Sequence[Item], verdicts: Sequence[Verdict], answers: Answers
) -> dict[str, list[str]]:
    """Ids and lines behind the outcomes."""
    ids = [item.question_id for item in items]
    known = set(ids)
    return {
        "missing": [ident for ident in ids if ident not in answers.texts],
        "unread": [
            ident
            for ident, verdict in zip(ids, verdicts, strict=True)
            if ident in answers.texts and verdict.said is None
        ],
        "extra": [ident for ident in answers.texts if ident not in known],
        "repeated": answers.repeated,
        "contradicted": answers.contradicted,
        "malformed": [f"line {number}" for number in answers.malformed],
    }


def _judging(
    benchmark: Benchmark,
    items: Sequence[Item],
    verdicts: Sequence[Verdict],
    rules: str,
    replies: Replies,
    unread: Sequence[str],
) -> Judging:
    """Who judged, and how far what could not be read might move the headline.

    Raises:
        UserError: nothing that the judge said can be read.
    """
    assert benchmark.by_judge is not None
    if len(unread) == len(replies.texts):
        raise UserError(
            "not one verdict of the judge can be read",
            where=benchmark.name,
            seen=replies.texts[unread[0]][:_SHOWN],
            hint=f"expected a first line like {benchmark.by_judge.most!r}; try another judge",
        )
    between = None
    if not all(verdict.counts for verdict in verdicts):
        filled = [
            [
                verdict if verdict.counts else benchmark.judge(item, reply, rules)
                for item, verdict in zip(items, verdicts, strict=True)
            ]
            for reply in (benchmark.by_judge.least, benchmark.by_judge.most)
        ]
        low, high = (next(iter(benchmark.total(items, f, rules).values())) for f in filled)
        between = (low, high)
    return Judging(
        judge=replies.judge,
        answered_by=replies.answered_by,
        prompts=replies.prompts,
        judged=len(replies.texts),
        unread=len(unread),
        between=between,
    )
