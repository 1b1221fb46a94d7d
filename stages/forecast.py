"""What a model's passes cost on this machine, from its first layers with random weights.

Nothing is loaded. Every pass runs as the stages run it, on a few real rows, through models of one
and two layers per tower; what a layer adds is taken times the number of layers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from adaptinf.data.images import load_image
from adaptinf.data.sample import Sample, Turn
from adaptinf.features.glance import EARLY, Glance
from adaptinf.models.loading import ModelSource, dtype_of, load_config
from adaptinf.models.parts import layer_index
from config import Recipe
from selection.curve import CURVE_ROWS, cluster_numbers
from selection.kmeans import cluster_rows
from selection.lloyd import ITERATIONS, TRAIN_ROWS_PER_CLUSTER
from stages.context import Context
from stages.cutting import build_model, cut_config, depth, everywhere
from stages.featurize import extractor_of

_REPEATS = 3
_ENOUGH_SECONDS = 0.2
_TRIAL_FLOPS_CPU = 2e10
_TRIAL_FLOPS_ACCELERATOR = 2e13
_LENGTH_ROWS = 8
_TRIAL_LAYERS = ((2, 1), (3, 1), (2, 2))  # of the text model and of the vision tower


@dataclass(frozen=True, slots=True)
class Cost:
    """Floating-point operations, and the seconds that they take here."""

    flops: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.seconds + other.seconds)

    def __mul__(self, times: float) -> Cost:
        return Cost(self.flops * times, self.seconds * times)

    def beyond(self, other: Cost) -> Cost:
        """What this costs more than ``other``; never less than nothing."""
        return Cost(max(0.0, self.flops - other.flops), max(0.0, self.seconds - other.seconds))


NOTHING = Cost()


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of the model with the recipe's adapter: parameters, layers, widths."""

    parameters: int
    adapter_parameters: int
    text_layers: int
    vision_layers: int
    hidden: int
    vocabulary: int
    bytes_per_parameter: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """Costs on the whole model.

    ``glance``, ``featurize`` and ``train`` are per token of a row, ``encode`` the seconds to load
    and encode a row. ``prompt`` is one batch of ``batch_rows`` questions up to the first token of
    the answers, ``prompt_tokens`` long, ``token`` every further token of that batch. ``clustering``
    is the seconds per operation of k-means.
    """

    shape: ModelShape
    encode: float
    glance: Cost
    featurize: Cost
    train: Cost
    prompt: Cost
    token: Cost
    batch_rows: int
    prompt_tokens: int
    clustering: float


def clustering_flops(rows: int, width: int, count: int) -> float:
    """Operations of k-means on a sample of the rows, then of assigning all of them."""
    sampled = min(rows, TRAIN_ROWS_PER_CLUSTER * count)
    return 2.0 * width * count * (ITERATIONS * sampled + rows)


def curve_flops(rows: int, width: int, budget: int) -> float:
    """Operations of k-means with every number of clusters that a rule tries, on its sample."""
    sampled = min(rows, CURVE_ROWS)
    tried = cluster_numbers(budget, sampled)
    return 2.0 * width * sum(tried) * (ITERATIONS + 1) * sampled


def model_shape(source: ModelSource, recipe: Recipe) -> ModelShape:
    """The model's sizes, counted on the meta device: nothing is allocated."""
    config = load_config(source)
    model = build_model(source, config, recipe, "meta")
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    text = config.get_text_config()
    return ModelShape(
        parameters=sum(p.numel() for p in model.parameters()) - trained,
        adapter_parameters=trained,
        text_layers=text.num_hidden_layers,
        vision_layers=depth(getattr(config, "vision_config", None)),
        hidden=text.hidden_size,
        vocabulary=text.vocab_size,
        bytes_per_parameter=dtype_of(source, config).itemsize,
    )


def forecast(context: Context, samples: Sequence[Sample], *, scored: bool = True) -> Forecast:
    """Time the passes on rows like ``samples`` and on questions of the benchmarks.

    Takes seconds on a small model. On a CPU it times fewer rows of a large one, at least one.
    Without ``scored`` the run has no feature pass, and none is timed; without samples it trains
    nothing, and questions alone are timed.
    """
    source, recipe = context.model_source, context.recipe
    config = load_config(source)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    rows = _affordable(context, config, samples)
    chosen = samples[: min(rows, recipe.train.batch_size)]
    asked = min(rows, recipe.evaluate.batch_size)
    started = time.perf_counter()
    batch = (_encoded(context, chosen) if chosen else _prompts(context, asked)).to(device)
    encode = (time.perf_counter() - started) / len(batch["input_ids"])
    wide = _scored_batch(context, samples[:rows]).to(device) if scored and chosen else None
    prompts = _prompts(context, asked).to(device) if chosen else batch
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wide_recipe = everywhere(recipe)
        models = (
            build_model(source, cut_config(config, *n), wide_recipe, device) for n in _TRIAL_LAYERS
        )
        taught = batch if chosen else None
        trials = [_trial(model, recipe, taught, wide, prompts) for model in models]
    shape = model_shape(source, recipe)
    prompt, longer = (
        _whole(name, trials, shape, shape.text_layers) for name in ("prompt", "prompt+2")
    )
    train = _whole("train", trials, shape, shape.text_layers) if chosen else NOTHING
    # Batches of these two passes are of rows of like length and hold hardly any padding.
    each = 1 / wide["input_ids"].numel() if wide else 0.0
    return Forecast(
        shape=shape,
        encode=encode,
        glance=_whole("glance", trials, shape, layer_index(EARLY, shape.text_layers) + 1) * each
        if wide
        else NOTHING,
        featurize=_featurize(trials, shape, recipe) * each if wide else NOTHING,
        train=train * (1 / int(batch["attention_mask"].sum())),
        prompt=prompt,
        token=longer.beyond(prompt) * 0.5,
        batch_rows=prompts["input_ids"].shape[0],
        prompt_tokens=prompts["input_ids"].shape[1],
        clustering=_clustering_seconds(),
    )


def sizes(context: Context) -> Forecast:
    """The forecast without its costs: no pass is run."""
    prompts = _prompts(context, context.recipe.evaluate.batch_size)
    rows, tokens = prompts["input_ids"].shape
    return Forecast(
        shape=model_shape(context.model_source, context.recipe),
        encode=0.0,
        glance=NOTHING,
        featurize=NOTHING,
        train=NOTHING,
        prompt=NOTHING,
        token=NOTHING,
        batch_rows=rows,
        prompt_tokens=tokens,
        clustering=0.0,
    )


def _whole(name: str, trials: Sequence[dict[str, Cost]], shape: ModelShape, layers: int) -> Cost:
    """A pass through so many layers, from that through two and what one more of each adds."""
    few, text, vision = (trial[name] for trial in trials)
    seeing = vision.beyond(few) * max(0, shape.vision_layers - 1)
    return few + text.beyond(few) * (layers - 2) + seeing


def _featurize(trials: Sequence[dict[str, Cost]], shape: ModelShape, recipe: Recipe) -> Cost:
    """The feature pass, which has no backward pass below the recipe's layer."""
    below = layer_index(recipe.featurize.layer, shape.text_layers)
    if below == shape.text_layers - 1:
        return _whole("last", trials, shape, shape.text_layers)
    few, text, _ = (trial["last"] for trial in trials)
    return _whole("first", trials, shape, shape.text_layers - below) + text.beyond(few) * below


def _trial(model: Any, recipe: Recipe, batch: Any, wide: Any, prompts: Any) -> dict[str, Cost]:
    """Each kind of pass on a cut model; ``batch`` is trained on and ``wide`` scored, if given."""
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    half = torch.autocast(model.device.type, torch.bfloat16, enabled=recipe.train.bf16)

    def train() -> None:
        model.train()
        with half:
            loss = model(**batch).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    def generate(tokens: int) -> None:
        model.eval()
        fixed = {"min_new_tokens": tokens, "max_new_tokens": tokens, "do_sample": False}
        with torch.inference_mode():
            model.generate(**prompts, **fixed)

    # Checkpointing runs the forward pass, a third of the whole, a second time.
    again = 4 / 3 if recipe.train.gradient_checkpointing else 1.0
    passes = {
        "prompt": _timed(lambda: generate(1)),
        "prompt+2": _timed(lambda: generate(3)),
    }
    taught = {"train": _timed(train) * again} if batch else {}
    return taught | passes | (_looks(model, recipe, wide) if wide else {})


def _looks(model: Any, recipe: Recipe, batch: Any) -> dict[str, Cost]:
    """The first look, and the feature pass with gradients of the first layer and of the last."""
    settings = recipe.featurize
    glance = Glance(model.get_base_model(), settings.dim, 0, "last")
    passes = {"glance": _timed(partial(glance, batch))}
    early = settings.embeddings.model_copy(update={"layer": "first"})
    embeddings = settings.embeddings if settings.embeddings.layer == "last" else early
    for layer in ("first", "last"):
        changes = {"layer": layer, "embeddings": embeddings}
        extractor = extractor_of(model, settings.model_copy(update=changes), 0)
        with extractor.model_unchanged():
            # What batches share is there from the first one on.
            extractor(batch)
            passes[layer] = _timed(partial(extractor, batch))
    return passes


def _timed(run: Callable[[], object]) -> Cost:
    """Best time of some runs after a first one, in which the operations are counted."""
    with FlopCounterMode(display=False) as counter:
        run()
    times: list[float] = []
    while len(times) < _REPEATS and sum(times) < _ENOUGH_SECONDS:
        _synchronise()
        started = time.perf_counter()
        run()
        _synchronise()
        times.append(time.perf_counter() - started)
    return Cost(counter.get_total_flops(), min(times))


def _clustering_seconds() -> float:
    """Seconds per operation, of a few random rows."""
    rows, width, count = 1024, 512, 16
    vectors = np.random.default_rng(0).standard_normal((rows, width), dtype=np.float32)
    started = time.perf_counter()
    cluster_rows(vectors, rows, count, seed=0)
    return (time.perf_counter() - started) / clustering_flops(rows, width, count)


def _synchronise() -> None:
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def _affordable(context: Context, config: Any, samples: Sequence[Sample]) -> int:
    """Rows like the first, or questions, that a trial can take through the smallest cut."""
    recipe = everywhere(context.recipe)
    smallest = build_model(
        context.model_source, cut_config(config, *_TRIAL_LAYERS[0]), recipe, "meta"
    )
    parameters = sum(p.numel() for p in smallest.parameters())
    one = _encoded(context, samples[:1]) if samples else _prompts(context, 1)
    tokens = one["input_ids"].shape[1]
    fast = torch.accelerator.is_available()
    flops = _TRIAL_FLOPS_ACCELERATOR if fast else _TRIAL_FLOPS_CPU
    return max(1, int(flops / (2 * parameters * tokens)))


def _encoded(context: Context, samples: Sequence[Sample]) -> Any:
    root = context.image_root
    images = [[load_image(root(s.dataset) / name) for name in s.images] for s in samples]
    return context.encoder.encode(samples, images)


def _scored_batch(context: Context, samples: Sequence[Sample]) -> Any:
    """As many of the rows as a batch of the feature pass holds."""
    most = context.recipe.featurize.batch_tokens
    longest = _encoded(context, samples[:_LENGTH_ROWS])["input_ids"].shape[1]
    return _encoded(context, samples[: max(1, most // longest)])


def _prompts(context: Context, rows: int) -> Any:
    """A batch of questions, from all benchmarks in turn."""
    asked = [(b, q) for b in context.benchmarks for q in context.questions(b)]
    asked = asked[:: max(1, len(asked) // rows)][:rows]
    turns = [[Turn("user", q.prompt)] for _, q in asked]
    images = [[load_image(b.images / name) for name in q.images] for b, q in asked]
    return context.encoder.encode_prompts(turns, images)
