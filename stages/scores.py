"""Scores of a benchmark's answers, for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from adaptinf.console import count_text, table
from adaptinf.scoring.result import Judging, Result, Unscored, Uploaded

if TYPE_CHECKING:
    from stages.evaluation import Outcome

_WORDS = {
    "missing": "questions without an answer, counted wrong",
    "unread": "answers out of which nothing could be read, counted wrong",
    "extra": "answers to no question, left out",
    "repeated": "answers given twice alike, counted once",
    "contradicted": "answers given twice unlike, the first counts",
    "malformed": "lines that hold no answer, left out",
}


def described(
    outcome: Result | Unscored, upload: Uploaded | None = None, *, as_json: bool = False
) -> str:
    """A result, or why there is none, and the upload file, in lines of 100 columns or as JSON."""
    if as_json:
        told = asdict(outcome) | ({"upload": asdict(upload)} if upload else {})
        return json.dumps(told, indent=1, ensure_ascii=False)
    if isinstance(outcome, Result):
        lines = _lines(outcome)
    else:
        lines = [f"{outcome.benchmark}: {count_text(outcome.items)} questions", outcome.why]
    return "\n".join([*lines, *([_upload_line(upload)] if upload else [])])


def _lines(result: Result) -> list[str]:
    outcomes = result.outcomes
    lines = [
        f"{result.benchmark} by the rules of {result.rules} ({result.source})",
        f"{count_text(outcomes.answered)} of {count_text(outcomes.questions)} questions answered",
    ]
    for name, words in _WORDS.items():
        if count := getattr(outcomes, name):
            shown = ", ".join(result.examples[name])
            more = ", ..." if count > len(result.examples[name]) else ""
            lines.append(f"  {count_text(count)} {words}: {shown}{more}")
    if result.judging:
        lines += _judged(result, result.judging)
    if outcomes.other_order:
        lines.append("  the answers stand in another order than the questions, which is all right")
    rows = [[name, f"{value:.2f}"] for name, value in result.totals.items()]
    low, high = result.interval
    lines += [
        "",
        table(rows, ["measure", "value"], width=100),
        "",
        f"mean of the questions: {result.mean:.2f}, 95 % interval {low:.2f} to {high:.2f}",
    ]
    if result.lenient > result.mean:
        lines.append(f"not minding their form: {result.lenient:.2f}")
    return lines


def _upload_line(upload: Uploaded) -> str:
    return f"upload file: {upload.file}" + (f" ({upload.note})" if upload.note else "")


def _judged(result: Result, judging: Judging) -> list[str]:
    """Who judged, and what of it could not be read."""
    names = [name for name in judging.answered_by if name != judging.judge]
    also = f", which calls itself {' and '.join(names)}" if names else ""
    lines = [
        f"{count_text(judging.judged)} verdicts of {judging.judge}{also}",
        f"  asked in {' and '.join(judging.prompts)}",
    ]
    if judging.unread:
        shown = ", ".join(result.examples["unjudged"])
        more = ", ..." if judging.unread > len(result.examples["unjudged"]) else ""
        fate = "left out" if judging.between else "counted as the original does"
        lines.append(f"  {count_text(judging.unread)} could not be read, {fate}: {shown}{more}")
    if judging.between:
        low, high = judging.between
        headline = next(iter(result.totals))
        lines.append(f"    at worst and at best, {headline} were {low:.2f} and {high:.2f}")
    return lines


def listed(outcomes: Sequence[Outcome], *, as_json: bool = False) -> str:
    """The headlines of several benchmarks, or why they have none, in a table or as JSON."""
    if as_json:
        return json.dumps([asdict(one) for one in outcomes], indent=1)
    header = ["benchmark", "items", "measure", "value", "mean of items", "95 % interval"]
    lines = [table([_row(one) for one in outcomes], header, width=100)]
    uploads = [_upload_line(one.upload) for one in outcomes if one.upload]
    return "\n".join([*lines, *([""] if uploads else []), *uploads])


def _row(one: Outcome) -> list[str]:
    told = [one.benchmark, f"{one.items:,}"]
    if isinstance(one, Unscored):
        return [*told, one.why, "", "", ""]
    low, high = one.interval
    numbers = [f"{one.value:.2f}", f"{one.mean:.2f}", f"{low:.2f} to {high:.2f}"]
    return [*told, one.measure, *numbers]


def progress_line(name: str, questions: int, done: int) -> None:
    """How far a benchmark is, where it can be seen without disturbing what is printed."""
    print(f"{name}: {done:,} of {questions:,}", file=sys.stderr, flush=True)
