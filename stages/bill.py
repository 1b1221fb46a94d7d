"""What a run costs: rows, operations, time, disk and memory of every stage, done or still to do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from adaptinf.console import count_text, duration_text, table
from adaptinf.evaluation.benchmarks import Benchmark
from adaptinf.models.parts import layer_index
from selection.budget import cluster_count
from selection.curve import RULES
from stages.context import Context
from stages.flow import StepRows, foretold
from stages.forecast import NOTHING, Cost, Forecast, clustering_flops, curve_flops
from stages.look import TaskLook
from stages.select import FEATURELESS
from stages.walk import StepWorks
from stages.work import Work, is_done

STAGES = ("ingest", "glance", "featurize", "select", "rehearse", "train", "evaluate", "prune")

_PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z")
_SCORE_BYTES = 80  # uid, five scores and a norm of one row
ACTIVATIONS = 32
"""A guess: numbers kept for the backward pass, per token, layer and hidden unit."""

ASSUMPTIONS = """\
time is that of this machine as busy as it is now; answers as long as the longest right one;
featurize: an upper bound with refresh stale, as if every older dataset had drifted;
memory: weights, adapter with optimiser, and 32 numbers per token, layer and hidden unit (a guess)
in a batch, beside the program itself; disk: pools, features, adapters, extracted images"""


@dataclass(frozen=True, slots=True)
class Load:
    """What one stage of one step, or a sum of them, has to do. ``memory`` is the largest."""

    rows: int = 0
    cost: Cost = NOTHING
    disk: float = 0.0
    memory: float = 0.0

    def __add__(self, other: Load) -> Load:
        return Load(
            self.rows + other.rows,
            self.cost + other.cost,
            self.disk + other.disk,
            max(self.memory, other.memory),
        )


@dataclass(frozen=True, slots=True)
class StageCost:
    """A stage over all steps: the whole of it, and what is still to do."""

    stage: str
    whole: Load
    to_do: Load


def bill_of(
    context: Context, looks: Sequence[TaskLook], walk: Sequence[StepWorks], passes: Forecast
) -> list[StageCost]:
    """The bill, one entry per stage that the walk has, in its order."""
    pairs = list(_loads(context, looks, walk, passes))
    return [
        StageCost(
            stage,
            _sum(load for work, load in pairs if work.stage == stage),
            _sum(load for work, load in pairs if work.stage == stage and not is_done(work)),
        )
        for stage in STAGES
        if any(work.stage == stage for work, _ in pairs)
    ]


def bill_text(costs: Sequence[StageCost]) -> str:
    """The bill as a table of at most 96 columns, with totals and what it rests on."""
    total = StageCost("total", _sum(c.whole for c in costs), _sum(c.to_do for c in costs))
    whole = total.whole
    rows = [
        [
            cost.stage,
            count_text(cost.whole.rows),
            count_text(cost.to_do.rows),
            _magnitude(cost.to_do.cost.flops),
            duration_text(cost.to_do.cost.seconds),
            _magnitude(cost.to_do.disk, "B"),
            _magnitude(cost.to_do.memory, "B"),
        ]
        for cost in (*costs, total)
    ]
    header = ["stage", "rows in all", "rows to do", "FLOPs", "time", "disk", "memory"]
    told = (
        f"the whole run from nothing: {_magnitude(whole.cost.flops)} FLOPs, "
        f"{duration_text(whole.cost.seconds)}, {_magnitude(whole.disk, 'B')} on disk"
    )
    return f"{table(rows, header, width=96)}\n\n{told}\n\n{ASSUMPTIONS}"


def _loads(
    context: Context, looks: Sequence[TaskLook], walk: Sequence[StepWorks], passes: Forecast
) -> Iterator[tuple[Work, Load]]:
    """Every stage of the walk with its load."""
    meter = _Meter(context, passes)
    yield from ((work, meter.evaluate(work)) for work in walk[0].evaluate)
    steps = foretold(context.recipe, looks, walk[1:])
    for works, look, rows in zip(walk[1:], looks, steps, strict=True):
        for work in works.ordered:
            match work.stage:
                case "ingest":
                    yield work, meter.ingest(look, rows)
                case "glance":
                    yield work, meter.glance(rows)
                case "featurize":
                    yield work, meter.featurize(rows)
                case "select":
                    yield work, meter.select(rows)
                case "rehearse":
                    yield work, meter.rehearse(rows)
                case "train":
                    yield work, meter.train(rows)
                case "evaluate":
                    yield work, meter.evaluate(work)
                case "prune":
                    yield work, meter.prune(rows)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A benchmark's questions and the longest answer, in tokens with the one that ends it."""

    rows: int
    new_tokens: int

    @classmethod
    def of(cls, benchmark: Benchmark, context: Context) -> _Asked:
        items = context.questions(benchmark)
        tokenizer = context.encoder.processor.tokenizer
        answers = tokenizer([item.answer for item in items], add_special_tokens=False)["input_ids"]
        longest = max(map(len, answers), default=0) + 1
        return cls(len(items), min(longest, benchmark.max_new_tokens))


class _Meter:
    """Turns rows into loads."""

    def __init__(self, context: Context, passes: Forecast) -> None:
        self._recipe = context.recipe
        self._passes = passes
        self._shape = passes.shape
        self._weights = self._shape.parameters * self._shape.bytes_per_parameter
        self._benchmarks = {b.name: _Asked.of(b, context) for b in context.benchmarks}

    def ingest(self, look: TaskLook, rows: StepRows) -> Load:
        read = look.to_read
        disk = read * look.media_bytes + rows.pool.bytes
        return Load(read, Cost(0.0, read * look.seconds), disk=disk)

    def glance(self, rows: StepRows) -> Load:
        settings, passing = self._recipe.featurize, Load(rows.pool.number)
        if not rows.glanced.number:
            return passing
        width = min(2 * self._shape.hidden, settings.dim)
        count = cluster_count("auto", self._recipe.most_scored or 1, rows.pool.number)
        look = Load(
            cost=self._passes.glance * rows.glanced.tokens + self._encoding(rows.glanced.number),
            disk=rows.pool.number * 2 * width,
            memory=self._weights + self._activations(settings.batch_tokens, 1),
        )
        return passing + look + self._clustering(rows.pool.number, width, count)

    def featurize(self, rows: StepRows) -> Load:
        settings = self._recipe.featurize
        layers = self._shape.text_layers
        above = layers - layer_index(settings.layer, layers)
        bare = settings.gradients == "none"
        width = (1 if bare else settings.dim) + self._shape.hidden
        return Load(
            rows.scored.number,
            self._passes.featurize * rows.scored.tokens + self._encoding(rows.scored.number),
            disk=rows.candidates.number * (2 * width + _SCORE_BYTES),
            memory=self._weights + self._activations(settings.batch_tokens, 1 if bare else above),
        )

    def select(self, rows: StepRows) -> Load:
        select, passing = self._recipe.select, Load(rows.pool.number)
        if select.method in FEATURELESS:
            return passing
        width = self._recipe.featurize.dim if select.features != "embeddings" else 0
        width += self._shape.hidden if select.features != "gradients" else 0
        count = cluster_count(select.clusters, select.budget, rows.candidates.number)
        clustering = self._clustering(rows.candidates.number, width, count)
        if select.clusters in RULES:
            clustering += self._operations(
                curve_flops(rows.candidates.number, width, select.budget)
            )
        return passing + clustering

    def train(self, rows: StepRows) -> Load:
        settings, chosen = self._recipe.train, rows.trained
        number = math.ceil(chosen.number * settings.epochs)
        tokens = settings.batch_size * chosen.tokens / max(1, chosen.number)
        layers = 1 if settings.gradient_checkpointing else self._shape.text_layers
        # Value, gradient and both moments of Adam; logits, their softmax and their gradient.
        adapter, logits = 16 * self._shape.adapter_parameters, 12 * tokens * self._shape.vocabulary
        return Load(
            number,
            self._passes.train * (chosen.tokens * settings.epochs) + self._encoding(number),
            disk=4 * self._shape.adapter_parameters,
            memory=self._weights + adapter + logits + self._activations(tokens, layers),
        )

    def rehearse(self, rows: StepRows) -> Load:
        # As far as is known, the answers are as long as those that the benchmarks ask for.
        longest = max((asked.new_tokens for asked in self._benchmarks.values()), default=1)
        tokens = min(longest, self._recipe.rehearse.max_new_tokens)
        return self._answers(rows.rehearsed.number, tokens)

    def evaluate(self, work: Work) -> Load:
        asked = self._benchmarks[work.folder.name]
        return self._answers(asked.rows if work.rows is None else work.rows, asked.new_tokens)

    def _answers(self, rows: int, new_tokens: int) -> Load:
        """Answers to so many questions, each of so many tokens."""
        share = rows / self._passes.batch_rows
        further = self._passes.token * (math.ceil(share) * (new_tokens - 1))
        # Keys and values in every layer, as if each head had its own.
        tokens = self._recipe.evaluate.batch_size * (self._passes.prompt_tokens + new_tokens)
        cache = 2 * tokens * self._shape.hidden * self._shape.text_layers
        return Load(
            rows,
            self._passes.prompt * share + further + self._encoding(rows),
            memory=self._weights + cache * self._shape.bytes_per_parameter,
        )

    def prune(self, rows: StepRows) -> Load:
        budget = self._recipe.pool_budget
        kept = Load(rows.pool.number, disk=rows.kept.bytes)
        if budget is None or rows.pool.number <= budget:
            return kept
        count = cluster_count("auto", budget, rows.candidates.number)
        return kept + self._clustering(rows.candidates.number, self._shape.hidden, count)

    def _encoding(self, rows: int) -> Cost:
        return Cost(0.0, rows * self._passes.encode)

    def _activations(self, tokens: float, layers: int) -> float:
        numbers = ACTIVATIONS * tokens * layers * self._shape.hidden
        return numbers * self._shape.bytes_per_parameter

    def _clustering(self, rows: int, width: int, count: int) -> Load:
        load = self._operations(clustering_flops(rows, width, count))
        return load + Load(memory=4.0 * rows * width)

    def _operations(self, flops: float) -> Load:
        return Load(0, Cost(flops, flops * self._passes.clustering))


def _sum(loads: Iterable[Load]) -> Load:
    return sum(loads, start=Load())


def _magnitude(value: float, unit: str = "") -> str:
    """``12 M``, ``3.4 TB``: three digits and the thousands' prefix; a dash for less than one."""
    rounded = float(f"{value:.3g}")
    if rounded < 1:
        return "-"
    power = min(int(math.log10(rounded) // 3), len(_PREFIXES) - 1)
    return f"{rounded / 1000**power:.3g} {_PREFIXES[power]}{unit}".strip()
