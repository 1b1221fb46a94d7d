"""``adaptinf evaluate``: a model's answers to benchmarks, outside of a run, and their scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from adaptinf.adapters.inspection import inspect_adapter
from adaptinf.distributed import Ranks
from adaptinf.errors import UserError
from adaptinf.evaluation.benchmarks import (
    Benchmark,
    PublishedBenchmark,
    Question,
    Shelf,
    find_benchmarks,
    kind_of,
    require_images,
)
from adaptinf.evaluation.generation import Generator, remove_partials
from adaptinf.evaluation.intervals import bootstrap_interval
from adaptinf.evaluation.published import answers_of, items_of
from adaptinf.files import write_atomically
from adaptinf.models.loading import ModelSource, load_model, model_fingerprint
from adaptinf.notice import Notice
from adaptinf.scoring.benchmarks import BENCHMARKS
from adaptinf.scoring.items import percent
from adaptinf.scoring.result import Unscored, Uploaded
from stages.context import encoder_of
from stages.exports import adapted_model
from stages.record import digest_of, file_digests
from stages.uploads import write_upload

ANSWERS, PARTIAL, SCORES = "answers.jsonl", "answers.partial.jsonl", "scores.json"


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
    upload: Uploaded | None = None


Outcome = Scored | Unscored


@dataclass(frozen=True, slots=True)
class _Asked:
    """Those questions of a benchmark that are asked; ``all`` of them, or the first ones."""

    benchmark: Benchmark
    questions: list[Question]
    all: bool


def evaluate(
    order: Order, advance: Callable[[str, int, int], None], notice: Notice | None = None
) -> list[Outcome]:
    """Answer and score benchmarks, one after the other, from wherever an earlier try ended.

    ``order.out`` gets a folder for each, with ``answers.jsonl`` in LLaVA's form, ``scores.json``,
    which says why where there is no score, and the upload file of a benchmark that has one and all
    of whose questions were asked. ``advance`` is told the benchmark's name, its questions and
    those done; a ``notice`` is heeded after it. Of the ranks of a launch only the leader comes
    here; the others ``follow``.

    Raises:
        UserError: an unknown benchmark, an image that is missing, or answers of another model.
    """
    ranks = Ranks.of_launch()
    asked = _asked(order)
    for one in asked:
        one.benchmark.prepare()
        require_images(one.benchmark, one.questions)
    source = ModelSource(order.model, dtype=order.dtype)
    named = _fingerprint(order, source)
    pending = [one for one in asked if not _is_done(order.out / one.benchmark.name, one, named)]
    ranks.meet()  # the others may look at what is here, and
    ranks.meet()  # have seen what is pending before it is begun
    generator = _generator(order, source, ranks) if pending else None
    notice = notice or Notice()
    outcomes = []

    def told(name: str, questions: int, done: int) -> None:
        advance(name, questions, done)
        notice.heed()

    for one in asked:
        folder = order.out / one.benchmark.name
        if generator is not None and one in pending:
            _answer(one, folder, generator, named, told, ranks)
        outcomes.append(_concluded(one, folder))
    ranks.part()
    return outcomes


def follow(order: Order, notice: Notice | None = None) -> None:
    """What all ranks of a launch do but the leader: answer their share of the questions."""
    ranks = Ranks.of_launch()
    ranks.meet()  # the leader has told mistakes, and written out images that stand inside labels
    asked = _asked(order)
    pending = [one for one in asked if not (order.out / one.benchmark.name / ANSWERS).is_file()]
    ranks.meet()
    notice = notice or Notice()

    def heeded(rows: int) -> None:
        notice.heed()

    if pending:
        generator = _generator(order, ModelSource(order.model, dtype=order.dtype), ranks)
        for one in pending:
            partial = order.out / one.benchmark.name / PARTIAL
            generator.answer(one.benchmark, one.questions, partial, heeded, ranks)
    ranks.part()


def _concluded(one: _Asked, folder: Path) -> Outcome:
    """Write ``scores.json`` and the upload file, of answers that are there."""
    texts = [json.loads(line)["text"] for line in (folder / ANSWERS).open()]
    why = one.benchmark.unscored(one.questions)
    outcome = _unscored(one, why, folder) if why else _scored(one, texts, folder)
    book = one.benchmark.book if isinstance(one.benchmark, PublishedBenchmark) else None
    if book is None or book.upload is None or not one.all:
        return outcome  # a server takes nothing less than the answers to all questions
    out = folder / f"upload{book.upload.suffix}"
    answers = answers_of(one.questions, texts)
    return replace(outcome, upload=write_upload(book, items_of(one.questions), answers, out))


def _unscored(one: _Asked, why: str, folder: Path) -> Unscored:
    found = Unscored(one.benchmark.name, len(one.questions), why)
    told = {"benchmark": found.benchmark, "items": found.items, "why": why}
    write_atomically(folder / SCORES, json.dumps(told, indent=1) + "\n")
    return found


def _scored(one: _Asked, texts: Sequence[str], folder: Path) -> Scored:
    """Score the answers; ``scores.json`` has the whole account of a published benchmark."""
    marks = one.benchmark.mark(one.questions, texts)
    interval = bootstrap_interval([100 * score for score in marks.scores], seed=0)
    measure, value = next(iter(marks.totals.items()))
    told: dict[str, Any] = {
        "benchmark": one.benchmark.name,
        "items": len(marks.scores),
        "measure": measure,
        "value": value,
        "mean": percent(marks.scores),
        "interval": (interval.low, interval.high),
    }
    account = asdict(marks.official) if marks.official else {}
    write_atomically(folder / SCORES, json.dumps(told | account, indent=1) + "\n")
    return Scored(**told)


def _generator(order: Order, source: ModelSource, ranks: Ranks) -> Generator:
    ranks.take_device()
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
    ranks: Ranks,
) -> None:
    """Write ``answers.jsonl``; what an earlier try has answered is not asked again."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "order.txt", _key(one, named))
    done = 0

    def told(rows: int) -> None:
        nonlocal done
        done += rows
        advance(one.benchmark.name, len(one.questions), done)

    partial = folder / PARTIAL
    texts = generator.answer(one.benchmark, one.questions, partial, told, ranks)
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
    write_atomically(folder / ANSWERS, whole)
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
    return (folder / ANSWERS).is_file()


def _key(one: _Asked, named: str) -> str:
    questions = [[q.question_id, q.text, list(q.images)] for q in one.questions]
    return digest_of([named, one.benchmark.max_new_tokens, questions])


def _fingerprint(order: Order, source: ModelSource) -> str:
    adapter = file_digests(order.adapter) if order.adapter else {}
    return digest_of([model_fingerprint(source), adapter])


def _asked(order: Order) -> list[_Asked]:
    """Published benchmarks of the folders ``data_dir/NAME``, and one's own.

    These are paths of YAML files, or names of those in ``data_dir/benchmarks``.
    """
    published = [name for name in order.benchmarks if kind_of(name) in BENCHMARKS]
    rules = {name: order.rules for name in published if order.rules}
    shelf = Shelf(order.data_dir, order.out / ".images", rules)
    found = find_benchmarks(order.data_dir / "benchmarks", order.benchmarks, shelf=shelf)
    asked = []
    for benchmark in found:
        questions = benchmark.items()
        some = questions[: order.limit]
        asked.append(_Asked(benchmark, some, len(some) == len(questions)))
    return asked
