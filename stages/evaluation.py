"""``adaptinf evaluate``: a model's answers to benchmarks, outside of a run, and their scores."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from adaptinf.adapters.inspection import inspect_adapter
from adaptinf.data.images import BadImage, locate
from adaptinf.distributed import Ranks
from adaptinf.errors import UserError
from adaptinf.evaluation.benchmarks import Benchmark, Question, find_benchmarks
from adaptinf.evaluation.generation import Generator, remove_partials
from adaptinf.evaluation.intervals import bootstrap_interval
from adaptinf.models.loading import ModelSource, load_model, model_fingerprint
from adaptinf.scoring.benchmarks import BENCHMARKS
from adaptinf.scoring.files import Answers
from adaptinf.scoring.result import (
    NO_JUDGE,
    NO_LABELS,
    Unscored,
    Uploaded,
    are_labelled,
    find_benchmark,
    read_items,
    score,
)
from stages.context import encoder_of
from stages.exports import adapted_model
from stages.uploads import write_upload
from stages.work import digest_of, file_digests, write_atomically

NEW_TOKENS = {"targets": 1024, "scienceqa": 1024, "llava_bench": 1024, "mmvet": 1024}
"""Longest answers where they are not 128, as LLaVA has them."""

ANSWERS, PARTIAL = "answers.jsonl", "answers.partial.jsonl"

_LISTED = 3


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
    """Questions of a benchmark, what scores the answers to them, and what writes an upload file."""

    benchmark: Benchmark
    questions: list[Question]
    judge: Callable[[list[str]], tuple[Outcome, dict[str, Any]]]
    upload: Callable[[list[str], Path], Uploaded] | None = None


def evaluate(order: Order, advance: Callable[[str, int, int], None]) -> list[Outcome]:
    """Answer and score benchmarks, one after the other, from wherever an earlier try ended.

    ``order.out`` gets a folder for each, with ``answers.jsonl`` in LLaVA's form, ``scores.json``,
    which says why where there is no score, and the upload file of a benchmark that has one and all
    of whose questions were asked. ``advance`` is told the benchmark's name, its questions and
    those done. Of the ranks of a launch only the leader comes here; the others ``follow``.

    Raises:
        UserError: an unknown benchmark, an image that is missing, or answers of another model.
    """
    ranks = Ranks.of_launch()
    asked = [_asked(name, order) for name in order.benchmarks]
    for one in asked:
        _require_images(one)
    source = ModelSource(order.model, dtype=order.dtype)
    named = _fingerprint(order, source)
    pending = [one for one in asked if not _is_done(order.out / one.benchmark.name, one, named)]
    ranks.meet()  # the others may look at what is here, and
    ranks.meet()  # have seen what is pending before it is begun
    generator = _generator(order, source, ranks) if pending else None
    outcomes = []
    for one in asked:
        folder = order.out / one.benchmark.name
        if generator is not None and one in pending:
            _answer(one, folder, generator, named, advance, ranks)
        outcomes.append(_concluded(one, folder))
    ranks.part()
    return outcomes


def follow(order: Order) -> None:
    """What all ranks of a launch do but the leader: answer their share of the questions."""
    ranks = Ranks.of_launch()
    ranks.meet()  # the leader has told mistakes, and written out images that stand inside labels
    asked = [_asked(name, order) for name in order.benchmarks]
    pending = [one for one in asked if not (order.out / one.benchmark.name / ANSWERS).is_file()]
    ranks.meet()
    if pending:
        generator = _generator(order, ModelSource(order.model, dtype=order.dtype), ranks)
        for one in pending:
            partial = order.out / one.benchmark.name / PARTIAL
            generator.answer(one.benchmark, one.questions, partial, ranks=ranks)
    ranks.part()


def _concluded(one: _Asked, folder: Path) -> Outcome:
    """Write ``scores.json`` and the upload file, of answers that are there."""
    texts = [json.loads(line)["text"] for line in (folder / ANSWERS).open()]
    outcome, told = one.judge(texts)
    write_atomically(folder / "scores.json", json.dumps(told, indent=1) + "\n")
    return replace(outcome, upload=one.upload(texts, folder)) if one.upload else outcome


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


def _asked(name: str, order: Order) -> _Asked:
    return _published(name, order) if name in BENCHMARKS else _own(name, order)


def _published(name: str, order: Order) -> _Asked:
    """A published benchmark, of the folder ``data_dir/NAME``."""
    benchmark, rules = find_benchmark(name, order.rules)
    labels = order.data_dir / name
    if not labels.exists():
        hint = f"expected {benchmark.labels}"
        raise UserError(f"no labels of {name}", where=str(labels), hint=hint)
    every = read_items(benchmark, labels)
    items = every[: order.limit]
    images = labels / "images" if (labels / "images").is_dir() else labels
    if benchmark.pictures is not None:
        images = _pictures(benchmark.pictures, labels, order.out / ".images" / name)
    questions = [Question(item.question_id, item.text, "", item.images) for item in items]
    tokens = NEW_TOKENS.get(name, 128)
    shown = Benchmark(name, name, labels, images, rules, tokens, ())

    def answers_of(texts: list[str]) -> Answers:
        ids = (item.question_id for item in items)
        return Answers(dict(zip(ids, texts, strict=True)))

    def judge(texts: list[str]) -> tuple[Outcome, dict[str, Any]]:
        if not are_labelled(items):
            return _unscored(name, items, NO_LABELS)
        if benchmark.judged:
            return _unscored(name, items, NO_JUDGE)
        result = score(benchmark, items, answers_of(texts), rules)
        measure, value = next(iter(result.totals.items()))
        scored = Scored(name, len(items), measure, value, result.mean, result.interval)
        return scored, asdict(result)

    def upload(texts: list[str], folder: Path) -> Uploaded:
        suffix = benchmark.upload.suffix if benchmark.upload else ""
        return write_upload(benchmark, items, answers_of(texts), folder / f"upload{suffix}")

    # A server takes nothing less than the answers to all questions.
    whole = benchmark.upload is not None and len(items) == len(every)
    return _Asked(shown, questions, judge, upload if whole else None)


def _unscored(name: str, items: Sequence[Any], why: str) -> tuple[Unscored, dict[str, Any]]:
    """Of a benchmark that was answered but cannot be scored here, and what its file says."""
    return Unscored(name, len(items), why), {"benchmark": name, "items": len(items), "why": why}


def _pictures(write: Callable[[Path, Path], None], labels: Path, folder: Path) -> Path:
    """The folder of images that stand inside the label files, written once."""
    if not folder.is_dir():
        draft = folder.with_name(f"{folder.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        write(labels, draft)
        draft.rename(folder)
    return folder


def _own(name: str, order: Order) -> _Asked:
    """One of one's own: the path of its YAML file, or its name in ``data_dir/benchmarks``."""
    (benchmark,) = find_benchmarks(order.data_dir / "benchmarks", [name])
    questions = benchmark.items(order.limit)
    worth = benchmark.scorer()

    def judge(texts: list[str]) -> tuple[Outcome, dict[str, Any]]:
        scores = [
            100 * worth(text, question.answer)
            for text, question in zip(texts, questions, strict=True)
        ]
        interval = bootstrap_interval(scores, seed=0)
        ends, mean = (interval.low, interval.high), sum(scores) / len(scores)
        scored = Scored(benchmark.name, len(scores), benchmark.metric, mean, mean, ends)
        return scored, asdict(scored)

    return _Asked(benchmark, questions, judge)


def _require_images(one: _Asked) -> None:
    """Before hours of answering, that no image is missing."""
    missing = []
    for name in dict.fromkeys(name for question in one.questions for name in question.images):
        try:
            if not locate(one.benchmark.images, name).is_file():
                missing.append(name)
        except BadImage:
            missing.append(name)
    if missing:
        raise UserError(
            f"{len(missing)} images of {one.benchmark.name} are missing",
            where=str(one.benchmark.images),
            seen=", ".join(missing[:_LISTED]),
            hint="put them there, or a link to their folder under the name images",
        )
