"""Which questions are asked between steps, where not all of them are."""

from __future__ import annotations

import json
from dataclasses import dataclass

from adaptinf.evaluation.benchmarks import Benchmark
from adaptinf.evaluation.probes import Probe, choose_probe
from stages.context import Context
from stages.work import Work, derived_seed

AUTO_ABOVE, AUTO_SIZE = 2_000, 500
"""``auto``: a benchmark of more questions than the first is probed by the second."""


@dataclass(frozen=True, slots=True)
class Asked:
    """So many questions, chosen by what the base model answered."""

    base: Work
    size: int


def probe_size(context: Context, benchmark: Benchmark) -> int | None:
    """How many questions are asked between steps; None: all of them."""
    wanted, questions = context.recipe.evaluate.probe, len(context.questions(benchmark))
    if wanted is None:
        return None
    size, above = (AUTO_SIZE, AUTO_ABOVE) if wanted == "auto" else (wanted, wanted)
    return size if questions > above else None


def probe_of(context: Context, benchmark: Benchmark, asked: Asked) -> Probe:
    """The questions that are asked."""
    with (asked.base.folder / "predictions.jsonl").open(encoding="utf-8") as lines:
        scores = [float(json.loads(line)["score"]) for line in lines]
    wholes, groups = [], []
    for number, question in enumerate(context.questions(benchmark)):
        whole = benchmark.whole(question)
        named = question.item.groups.values() if question.item else ()
        groups.append("/".join(name for name in named if name != whole))
        wholes.append(str(number) if whole is None else whole)
    seed = derived_seed(context.recipe.seed, "probe", benchmark.name)
    return choose_probe(scores, groups, wholes, asked.size, seed)
