"""Answers before a judge: what it is sent is said first, and what it said is kept."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx2

from adaptinf.console import count_text
from adaptinf.data.completions import TIMEOUT
from adaptinf.errors import UserError
from adaptinf.scoring.files import read_answers
from adaptinf.scoring.judging.client import KEY, Judge
from adaptinf.scoring.judging.plan import Plan
from adaptinf.scoring.judging.verdicts import VerdictFile
from adaptinf.scoring.result import Result, find_benchmark, read_items, score
from stages.scores import progress_line


@dataclass(frozen=True, slots=True)
class Order:
    """What to score, and who judges: see the command's options."""

    benchmark: str
    answers: Path
    labels: Path
    rules: str | None = None
    address: str | None = None
    judge: str | None = None
    verdicts: Path | None = None


def score_judged(order: Order) -> Result:
    """Score answers by the verdicts of a judge; only those that are not kept yet are asked for.

    Raises:
        UserError: a benchmark that needs no judge, verdicts that are wanting without a judge to
            give them, or one that cannot be asked.
    """
    benchmark, rules = find_benchmark(order.benchmark, order.rules)
    if not benchmark.judged:
        raise UserError("this benchmark needs no judge", where=order.benchmark)
    items = read_items(benchmark, order.labels)
    answers = read_answers(order.answers)
    file = VerdictFile.read(order.verdicts or order.answers.with_suffix(".verdicts.jsonl"))
    plan = Plan.of(benchmark, items, answers, _judge(order, file), file)
    if plan.open:
        _hear(plan, order)
    return score(benchmark, items, answers, rules, plan.replies())


def _judge(order: Order, file: VerdictFile) -> str:
    """The name of the judge: as given, or of the one who alone has ruled in the file."""
    if order.judge:
        return order.judge
    if order.address or len(file.judges) > 1:
        hint = f"give its name with --judge-model; {file.path} has verdicts of"
        known = ", ".join(file.judges) or "none"
        raise UserError("which model is to judge?", where="--judge", hint=f"{hint} {known}")
    return file.judges[0] if file.judges else ""


def _hear(plan: Plan, order: Order) -> None:
    """Have the judge rule on what is open, if there is one."""
    missing, (sent, back) = len(plan.open), plan.tokens()
    amount = f"{count_text(missing)} requests, about {count_text(sent)} tokens"
    if order.address is None:
        raise UserError(
            f"a language model has to judge these answers: {missing} of {len(plan.cases)} verdicts"
            " are wanting",
            where=str(plan.file.path),
            hint="give --judge URL and --judge-model NAME, of any server that speaks OpenAI's"
            f" chat/completions, with its key in {KEY}; it would be sent {amount}",
        )
    with httpx2.Client(timeout=TIMEOUT) as client:
        judge = Judge.at(order.address, plan.judge, client, os.environ)
        _tell(f"to {judge.endpoint}, for {plan.judge}: {amount}; up to {count_text(back)} return")
        _tell("  questions, references and answers are sent as text, images are not; where a reply")
        _tell("  cannot be read, the same is asked once more")
        kept = count_text(len(plan.cases) - missing)
        _tell(f"  of the verdicts {kept} are there already, in {plan.file.path}")
        if judge.in_clear:
            _tell(f"  the key in {KEY} goes there unencrypted")
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            progress_line(f"{plan.benchmark.name} judged", missing, done)

        plan.hear(judge, advance)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
