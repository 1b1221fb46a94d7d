"""``adaptinf serve-check``: a run's stored answers against those of a server of its model.

What a run measured holds for what is served only if the same adapter answers behind the same
template, tokenizer and pixels. So questions that a step has answered are asked again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from adaptinf.console import table
from adaptinf.data.completions import TIMEOUT, ChatServer, HaltedError, image_part
from adaptinf.data.images import locate
from adaptinf.errors import UserError
from adaptinf.evaluation.answered import asked_of, read_matrix, step_folder
from adaptinf.evaluation.benchmarks import Benchmark, Question, require_images
from stages.manager import open_context
from stages.run_recipe import recipe_of

IN_FLIGHT = 4
"""Requests that a server is sent at one time."""

Advance = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What to ask, and what is too far off: see the command's options."""

    address: str
    run: Path
    step: int | None = None
    model: str | None = None
    rows: int = 200
    equal: float = 95.0
    tolerance: float = 1.0


@dataclass(frozen=True, slots=True)
class Compared:
    """Answers to some questions of a benchmark, beside those that the run has of its step.

    ``equal`` answers to the letter; ``stored`` and ``served`` are mean scores in percent.
    """

    benchmark: str
    rows: int
    equal: int
    stored: float
    served: float

    @property
    def off(self) -> float:
        """Points that the server's answers are worth more."""
        return self.served - self.stored


@dataclass(frozen=True, slots=True)
class Parity:
    """The server's answers by benchmark, and those that the run has of the base model, if any."""

    step: str
    served: tuple[Compared, ...]
    base: tuple[Compared, ...]
    order: Order

    @property
    def holds(self) -> bool:
        """Whether the server answers as the step did, and the base model would not have passed."""
        return self._passes(self.served) and not (self.base and self._passes(self.base))

    @property
    def verdict(self) -> str:
        """The same in words."""
        if not self._passes(self.served):
            return f"the server does not answer as {self.step} did"
        if not self.holds:
            return "these questions cannot tell the step from the base model: ask more, or others"
        return f"the server answers as {self.step} did"

    def _passes(self, found: Sequence[Compared]) -> bool:
        whole = total(found)
        close = abs(whole.off) <= self.order.tolerance
        return close and 100 * whole.equal >= self.order.equal * whole.rows


@dataclass(frozen=True, slots=True)
class _Part:
    """The questions of a benchmark that are asked, and what was answered before."""

    benchmark: Benchmark
    questions: list[Question]
    stored: list[str]
    base: list[str] | None


def check_served(order: Order, advance: Advance = lambda name, total, done: None) -> Parity:
    """Ask the server what a step of the run was asked, and compare.

    Raises:
        UserError: no run, a step without answers, or a server that refuses.
    """
    context = open_context(recipe_of(order.run))
    number, step = _step(order)
    parts = []
    for benchmark in context.benchmarks:
        part = _part(order.run, step, benchmark, context.questions(benchmark), bool(number))
        if part is not None:
            parts.append(part)
    if not parts:
        raise UserError(
            "the step has no answers", where=str(step), hint="run the recipe to its end"
        )
    shared = zip(parts, _shares(parts, order.rows), strict=True)
    parts = [_some(part, count) for part, count in shared if count]
    for part in parts:
        part.benchmark.prepare()
        require_images(part.benchmark, part.questions)
    with httpx2.Client(timeout=TIMEOUT) as client:
        name = step.name if number else "base"
        server = ChatServer.at(order.address, order.model or name, client, os.environ)
        heard = [_hear(server, part, advance) for part in parts]
    return Parity(
        step.name,
        tuple(_compared(part, texts) for part, texts in zip(parts, heard, strict=True)),
        tuple(_compared(part, part.base) for part in parts if part.base is not None),
        order,
    )


def total(found: Sequence[Compared]) -> Compared:
    """Of all benchmarks together, every question alike."""
    rows = sum(one.rows for one in found)
    return Compared(
        "all",
        rows,
        sum(one.equal for one in found),
        sum(one.rows * one.stored for one in found) / rows,
        sum(one.rows * one.served for one in found) / rows,
    )


def described(parity: Parity) -> str:
    """A table, and the verdict."""
    lines = [_cells(one) for one in (*parity.served, total(parity.served))]
    if parity.base:
        lines.append(_cells(total(parity.base), "the base model's own"))
    heads = ["benchmark", "answers", "equal, %", "score in the run", "score served", "off"]
    bounds = f"(at least {parity.order.equal:g} % equal, {parity.order.tolerance:g} points off)"
    return f"{table(lines, heads)}\n\n{parity.verdict} {bounds}"


def _cells(one: Compared, name: str | None = None) -> list[str]:
    share = 100 * one.equal / one.rows
    numbers = [f"{share:.1f}", f"{one.stored:.1f}", f"{one.served:.1f}", f"{one.off:+.1f}"]
    return [name or one.benchmark, str(one.rows), *numbers]


def _step(order: Order) -> tuple[int, Path]:
    steps = read_matrix(order.run).steps
    number = len(steps) - 1 if order.step is None else order.step
    if not 0 <= number < len(steps):
        hint = f"give 0 (the base model) to {len(steps) - 1}"
        raise UserError("no such step", where="--step", seen=number, hint=hint)
    return number, step_folder(order.run, steps, number)


def _part(
    run: Path, step: Path, benchmark: Benchmark, questions: Sequence[Question], adapted: bool
) -> _Part | None:
    """What the step answered of a benchmark; None where it was not asked."""
    stored = _answers(step, benchmark)
    if not stored:
        return None
    known = {asked_of(_told(question)): question for question in questions}
    base = _answers(step_folder(run, (), 0), benchmark) if adapted else {}
    lost = [key for key in stored if key not in known]
    if lost:
        raise UserError(
            f"{len(lost)} questions of {benchmark.name} are not what the step was asked",
            where=str(step),
            hint="the benchmark's file has changed since; run the recipe again",
        )
    whole = all(key in base for key in stored)
    return _Part(
        benchmark,
        [known[key] for key in stored],
        list(stored.values()),
        [base[key] for key in stored] if whole else None,
    )


def _answers(step: Path, benchmark: Benchmark) -> dict[str, str]:
    """Answers of a step by what was asked."""
    file = step / "evaluate" / benchmark.name / "predictions.jsonl"
    if not file.is_file():
        return {}
    return dict(_rows(file))


def _rows(file: Path) -> Iterator[tuple[str, str]]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            row: Mapping[str, Any] = json.loads(line)
            yield asked_of(row), row["text"]


def _told(question: Question) -> dict[str, Any]:
    return {
        "question_id": question.question_id,
        "prompt": question.prompt,
        "answer": question.answer,
        "images": list(question.images),
    }


def _shares(parts: Sequence[_Part], rows: int) -> list[int]:
    """Questions of each benchmark: alike, and what a small one lacks goes to the others."""
    left, shares = rows, [0] * len(parts)
    order = sorted(range(len(parts)), key=lambda i: len(parts[i].questions))
    for place, number in enumerate(order):
        shares[number] = min(len(parts[number].questions), left // (len(parts) - place))
        left -= shares[number]
    return shares


def _some(part: _Part, count: int) -> _Part:
    """So many of its questions, at equal distances."""
    size = len(part.questions)
    places = [i * size // count for i in range(count)]
    return _Part(
        part.benchmark,
        [part.questions[i] for i in places],
        [part.stored[i] for i in places],
        None if part.base is None else [part.base[i] for i in places],
    )


def _hear(server: ChatServer, part: _Part, advance: Advance) -> list[str]:
    """The server's answers, a few questions at a time."""
    texts = []
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        waiting = [pool.submit(_answer, server, part.benchmark, q) for q in part.questions]
        try:
            for done, heard in enumerate(waiting, 1):
                with suppress(HaltedError):  # one that failed tells why
                    texts.append(heard.result())
                advance(part.benchmark.name, len(waiting), done)
        except BaseException:
            server.halted.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return texts


def _answer(server: ChatServer, benchmark: Benchmark, question: Question) -> str:
    """The images first, then the text, as the step was asked; stripped as it was there."""
    images = [image_part(locate(benchmark.images, name)) for name in question.images]
    content: object = question.text
    if images:
        content = [*images, {"type": "text", "text": question.text}]
    message = {"role": "user", "content": content}
    try:
        return server.reply([message], benchmark.max_new_tokens).text.strip()
    except UserError:
        server.halted.set()
        raise


def _compared(part: _Part, texts: Sequence[str]) -> Compared:
    rows = len(texts)
    scores = [
        100 * sum(part.benchmark.mark(part.questions, said).scores) / rows
        for said in (part.stored, list(texts))
    ]
    equal = sum(a == b for a, b in zip(part.stored, texts, strict=True))
    return Compared(part.benchmark.name, rows, equal, *scores)
