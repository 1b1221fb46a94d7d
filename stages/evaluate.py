"""Ask a benchmark's questions to the model as it is after a step, and score the answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from adaptinf.evaluation.benchmarks import Benchmark, Marks, Question
from adaptinf.evaluation.intervals import bootstrap_interval
from adaptinf.evaluation.probes import Probe
from stages.context import Context, Step
from stages.lineage import Lineage
from stages.probe import Asked, probe_of
from stages.work import Counts, Progress, Work, derived_seed

if TYPE_CHECKING:
    from adaptinf.evaluation.generation import Generator

VERSION = 1

ROUTED = 64
"""Questions of a benchmark whose MixLoRA routes are counted."""


def evaluate_work(
    context: Context,
    step: Step,
    benchmark: Benchmark,
    lineage: Lineage,
    asked: Asked | None = None,
) -> Work:
    """One cell of the matrix: the base model (no ``top``) or a step's adapter on a benchmark.

    All questions are asked, or as many as ``asked`` says.
    """
    recipe = context.recipe
    inputs = {"model": context.model_fingerprint, **context.benchmark_inputs(benchmark)}
    if lineage.top:
        inputs["train"] = lineage.top.fingerprint
    if asked:
        inputs["base"] = asked.base.fingerprint
    return Work(
        step=step.name,
        stage="evaluate",
        version=VERSION,
        settings={
            "benchmark": benchmark.name,
            "metric": benchmark.metric,
            "max_new_tokens": benchmark.max_new_tokens,
            "limit": recipe.evaluate.limit,
            "batch_size": recipe.evaluate.batch_size,
            "seed": recipe.seed,
            **({"probe": asked.size} if asked else {}),
        },
        inputs=inputs,
        folder=context.run / "steps" / step.name / "evaluate" / benchmark.name,
        perform=partial(_evaluate, context, step, benchmark, lineage, asked),
        rows=asked.size if asked else len(context.questions(benchmark)),
        shared=True,
        reads=(*lineage.folders, *([asked.base.folder] if asked else [])),
    )


def _evaluate(
    context: Context,
    step: Step,
    benchmark: Benchmark,
    lineage: Lineage,
    asked: Asked | None,
    folder: Path,
    progress: Progress,
) -> Counts:
    from adaptinf.evaluation.generation import Generator, remove_partials

    questions = context.questions(benchmark)
    probe = probe_of(context, benchmark, asked) if asked else None
    if probe:
        questions = [questions[place] for place in probe.places]
    partial_file = folder / "answers.partial.jsonl"
    model_of = context.model.adapted(lineage) if lineage.top else context.model.bare()
    with model_of as model:
        generator = Generator(model, context.encoder, context.recipe.evaluate.batch_size)
        ranks = context.ranks
        texts = generator.answer(benchmark, questions, partial_file, progress.advance, ranks)
        if not ranks.leads:
            return Counts(len(questions), len(questions))
        _write_routes(generator, benchmark, questions[:ROUTED], folder)
    marks = benchmark.mark(questions, texts)
    lines = [
        {
            "question_id": question.question_id,
            "prompt": question.prompt,
            "text": text,
            "answer": question.answer,
            "images": list(question.images),
            "score": value,
            "model_id": step.name,
        }
        for question, text, value in zip(questions, texts, marks.scores, strict=True)
    ]
    predictions = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / "predictions.jsonl").write_text(predictions)
    cell = json.dumps(_cell(context, benchmark, marks, probe), indent=1)
    (folder / "scores.json").write_text(cell + "\n")
    remove_partials(partial_file)
    return Counts(len(questions), len(questions))


def _write_routes(
    generator: Generator, benchmark: Benchmark, questions: Sequence[Question], folder: Path
) -> None:
    """``routes.parquet``: how often these questions choose each factor; of MixLoRA alone."""
    from adaptinf.adapters.mixlora.statistics import RouteCounts, placed_mixtures, routes_of

    placed = next(placed_mixtures(generator.model), None)
    if placed is None:
        return
    counts = RouteCounts(experts=len(placed.mixture.pool_a))
    for rows in generator.read(benchmark, questions):
        counts.add(routes_of(generator.model), [benchmark.skill] * rows)
    pq.write_table(counts.table(), folder / "routes.parquet")


def _cell(
    context: Context, benchmark: Benchmark, marks: Marks, probe: Probe | None
) -> dict[str, Any]:
    """Mean in percent with its 95 % interval over the questions; official totals.

    Of a probe it is an estimate for all questions, with the mean of those asked beside it; totals
    are of those asked.
    """
    scores = [100 * value for value in marks.scores]
    seed = derived_seed(context.recipe.seed, "interval", benchmark.name)
    interval = probe.interval(scores, seed) if probe else bootstrap_interval(scores, seed=seed)
    mean = 100 * sum(marks.scores) / len(scores)
    cell = {
        "benchmark": benchmark.name,
        "metric": benchmark.metric,
        "n": len(scores),
        "score": probe.estimate(scores) if probe else mean,
        "interval": [interval.low, interval.high],
    }
    if probe:
        cell["probe"] = {"of": probe.total, "mean": mean}
    return cell | ({"official": asdict(marks.official)} if marks.official else {})
