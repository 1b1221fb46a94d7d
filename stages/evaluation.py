"""``adaptinf evaluate``: a model's answers to benchmarks, outside of a run, and their scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adaptinf.adapters.inspection import inspect_adapter
from adaptinf.errors import UserError
from adaptinf.evaluation.benchmarks import (
    Benchmark,
    Question,
    Shelf,
    find_benchmarks,
    require_images,
)
from adaptinf.evaluation.generation import Generator, remove_partials
from adaptinf.evaluation.intervals import bootstrap_interval
from adaptinf.models.loading import ModelSource, load_model, model_fingerprint
from adaptinf.scoring.benchmarks import BENCHMARKS
from adaptinf.scoring.items import percent
from stages.context import encoder_of
from stages.exports import adapted_model
from stages.work import digest_of, file_digests, write_atomically


@dataclass(frozen=True, slots=True)
class Order:
    """What to evaluate, and how: see the command's options."""

    model: str
    adapter: Path | None
    benchmarks: Sequence[str]
    data_dir: Path
    out: Path
    limit: int | None = None
    batch_size: int = 16
    rules: str | None = None
    dtype: str = "auto"


@dataclass(frozen=True, slots=True)
class Scored:
    """A benchmark's headline, the mean of its questions, and the interval of that; in percent."""

    benchmark: str
    items: int
    measure: str
    value: float
    mean: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Asked:
    """Those questions of a benchmark that are asked."""

    benchmark: Benchmark
    questions: list[Question]


def evaluate(order: Order, advance: Callable[[str, int, int], None]) -> list[Scored]:
    """Answer and score benchmarks, one after the other, from wherever an earlier try ended.

    ``order.out`` gets a folder for each, with ``answers.jsonl`` in LLaVA's form and
    ``scores.json``. ``advance`` is told the benchmark's name, its questions and those done.

    Raises:
        UserError: an unknown benchmark, an image that is missing, or answers of another model.
    """
    asked = [_Asked(one, one.items(order.limit)) for one in _benchmarks(order)]
    for one in asked:
        one.benchmark.prepare()
        require_images(one.benchmark, one.questions)
    source = ModelSource(order.model, dtype=order.dtype)
    named = _fingerprint(order, source)
    pending = [one for one in asked if not _is_done(order.out / one.benchmark.name, one, named)]
    generator = _generator(order, source) if pending else None
    scores = []
    for one in asked:
        folder = order.out / one.benchmark.name
        if generator is not None and one in pending:
            _answer(one, folder, generator, named, advance)
        texts = [json.loads(line)["text"] for line in (folder / "answers.jsonl").open()]
        scores.append(_score(one, texts, folder))
    return scores


def _generator(order: Order, source: ModelSource) -> Generator:
    if order.adapter is None:
        model: Any = load_model(source)
    else:
        model = adapted_model(order.adapter, inspect_adapter(order.adapter), source)
    return Generator(model.eval(), encoder_of(source), order.batch_size)


def _answer(
    one: _Asked,
    folder: Path,
    generator: Generator,
    named: str,
    advance: Callable[[str, int, int], None],
) -> None:
    """Write ``answers.jsonl``; what an earlier try has answered is not asked again."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "order.txt", _key(one, named))
    done = 0

    def told(rows: int) -> None:
        nonlocal done
        done += rows
        advance(one.benchmark.name, len(one.questions), done)

    partial = folder / "answers.partial.jsonl"
    texts = generator.answer(one.benchmark, one.questions, partial, told)
    lines = [
        {
            "question_id": question.question_id,
            "prompt": question.text,
            "text": text,
            "answer_id": f"{named[:8]}-{number}",
            "model_id": named[:12],
            "metadata": {},
        }
        for number, (question, text) in enumerate(zip(one.questions, texts, strict=True))
    ]
    whole = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    write_atomically(folder / "answers.jsonl", whole)
    remove_partials(partial)


def _is_done(folder: Path, one: _Asked, named: str) -> bool:
    """Whether the answers are there. Raises where those of another model or question are."""
    key = folder / "order.txt"
    if key.is_file() and key.read_text() != _key(one, named):
        raise UserError(
            "answers of another model, adapter or question file are here",
            where=str(folder),
            hint="choose another folder with --out, or remove this one",
        )
    return (folder / "answers.jsonl").is_file()


def _key(one: _Asked, named: str) -> str:
    questions = [[q.question_id, q.text, list(q.images)] for q in one.questions]
    return digest_of([named, one.benchmark.max_new_tokens, questions])


def _fingerprint(order: Order, source: ModelSource) -> str:
    adapter = file_digests(order.adapter) if order.adapter else {}
    return digest_of([model_fingerprint(source), adapter])


def _benchmarks(order: Order) -> list[Benchmark]:
    """Published ones of the folders ``data_dir/NAME``, and one's own.

    These are paths of YAML files, or names of those in ``data_dir/benchmarks``.
    """
    rules = {name: order.rules for name in order.benchmarks if order.rules and name in BENCHMARKS}
    shelf = Shelf(order.data_dir, order.out / ".images", rules)
    return find_benchmarks(order.data_dir / "benchmarks", order.benchmarks, shelf=shelf)


def _score(one: _Asked, texts: Sequence[str], folder: Path) -> Scored:
    """Score the answers; ``scores.json`` has the whole account of a published benchmark."""
    marks = one.benchmark.mark(one.questions, texts)
    interval = bootstrap_interval([100 * score for score in marks.scores], seed=0)
    measure, value = next(iter(marks.totals.items()))
    scored = Scored(
        benchmark=one.benchmark.name,
        items=len(marks.scores),
        measure=measure,
        value=value,
        mean=percent(marks.scores),
        interval=(interval.low, interval.high),
    )
    told = asdict(scored) | (asdict(marks.official) if marks.official else {})
    write_atomically(folder / "scores.json", json.dumps(told, indent=1) + "\n")
    return scored
