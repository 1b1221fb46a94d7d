"""What a model's passes cost on this machine, from its first layers with random weights.

Nothing is loaded. Every pass runs as the stages run it, on a few real rows, through models of one
and two layers per tower; what a layer adds is taken times the number of layers.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from adaptinf.adapters.attachment import attach
from adaptinf.data.images import load_image
from adaptinf.data.sample import IMAGE_MARK, Sample, Turn
from adaptinf.features.extractor import FeatureExtractor
from adaptinf.models.loading import ModelSource, load_config
from adaptinf.models.parts import layer_index
from config import Recipe
from selection.kmeans import cluster_rows
from selection.lloyd import ITERATIONS, TRAIN_ROWS_PER_CLUSTER
from stages.context import Context

_REPEATS = 3
_ENOUGH_SECONDS = 0.2
_TRIAL_FLOPS_CPU = 2e10
_TRIAL_FLOPS_ACCELERATOR = 2e13
_LENGTH_ROWS = 8
_TRIAL_LAYERS = ((2, 1), (3, 1), (2, 2))  # of the text model and of the vision tower
_DEPTHS = ("num_hidden_layers", "depth")


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

    ``featurize`` and ``train`` are per token of a row, ``encode`` the seconds to load and encode a
    row. ``prompt`` is one batch of ``batch_rows`` questions up to the first token of the answers,
    ``prompt_tokens`` long, ``token`` every further token of that batch. ``clustering`` is the
    seconds per operation of k-means.
    """

    shape: ModelShape
    encode: float
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


def model_shape(source: ModelSource, recipe: Recipe) -> ModelShape:
    """The model's sizes, counted on the meta device: nothing is allocated."""
    config = load_config(source)
    model = _build(source, config, recipe, "meta")
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    text = config.get_text_config()
    return ModelShape(
        parameters=sum(p.numel() for p in model.parameters()) - trained,
        adapter_parameters=trained,
        text_layers=text.num_hidden_layers,
        vision_layers=_depth(getattr(config, "vision_config", None)),
        hidden=text.hidden_size,
        vocabulary=text.vocab_size,
        bytes_per_parameter=_dtype(source, config).itemsize,
    )


def forecast(context: Context, samples: Sequence[Sample], *, scored: bool = True) -> Forecast:
    """Time the passes on rows like ``samples`` and on questions of the benchmarks.

    Takes seconds on a small model. On a CPU it times fewer rows of a large one, at least one.
    Without ``scored`` the run has no feature pass, and none is timed.
    """
    source, recipe = context.model_source, context.recipe
    config = load_config(source)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    rows = _affordable(context, config, samples[0])
    chosen = samples[: min(rows, recipe.train.batch_size)]
    started = time.perf_counter()
    batch = _encoded(context, chosen).to(device)
    encode = (time.perf_counter() - started) / len(chosen)
    wide = _scored_batch(context, samples[:rows]).to(device) if scored else None
    prompts = _prompts(context, min(rows, recipe.evaluate.batch_size)).to(device)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        everywhere = _everywhere(recipe)
        models = (_build(source, _cut(config, *n), everywhere, device) for n in _TRIAL_LAYERS)
        trials = [_trial(model, recipe, batch, wide, prompts) for model in models]
    shape = model_shape(source, recipe)
    whole = {name: _whole(name, trials, shape, recipe) for name in trials[0]}
    return Forecast(
        shape=shape,
        encode=encode,
        # Batches of the feature pass are of rows of like length and hold hardly any padding.
        featurize=whole["featurize"] * (1 / wide["input_ids"].numel()) if wide else NOTHING,
        train=whole["train"] * (1 / int(batch["attention_mask"].sum())),
        prompt=whole["prompt"],
        token=whole["prompt+2"].beyond(whole["prompt"]) * 0.5,
        batch_rows=prompts["input_ids"].shape[0],
        prompt_tokens=prompts["input_ids"].shape[1],
        clustering=_clustering_seconds(),
    )


def _whole(name: str, trials: Sequence[dict[str, Cost]], shape: ModelShape, recipe: Recipe) -> Cost:
    """A pass through all layers, from that through two and one and what one more of each adds."""
    few, text, vision = (trial[name] for trial in trials)
    layers: float = shape.text_layers
    if name == "featurize":
        # Two forward passes and a backward pass, which ends at the recipe's layer.
        layers -= layer_index(recipe.featurize.layer, shape.text_layers) / 3
    seeing = max(0, shape.vision_layers - 1)
    return few + text.beyond(few) * (layers - 2) + vision.beyond(few) * seeing


def _trial(model: Any, recipe: Recipe, batch: Any, wide: Any, prompts: Any) -> dict[str, Cost]:
    """Each kind of pass on a cut model; ``wide`` is the feature pass's batch, if there is one."""
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
        "train": _timed(train) * again,
        "prompt": _timed(lambda: generate(1)),
        "prompt+2": _timed(lambda: generate(3)),
    }
    if wide:
        extractor = FeatureExtractor(model, "first", recipe.featurize.dim)
        passes["featurize"] = _timed(lambda: extractor(wide))
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


def _affordable(context: Context, config: Any, sample: Sample) -> int:
    """Rows like that one that a trial can take through the smallest cut of the model."""
    recipe = _everywhere(context.recipe)
    smallest = _build(context.model_source, _cut(config, *_TRIAL_LAYERS[0]), recipe, "meta")
    parameters = sum(p.numel() for p in smallest.parameters())
    tokens = _encoded(context, [sample])["input_ids"].shape[1]
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
    asked = [(b, q) for b in context.benchmarks for q in b.items(context.recipe.evaluate.limit)]
    asked = asked[:: max(1, len(asked) // rows)][:rows]
    turns = [[Turn("user", IMAGE_MARK * len(q.images) + q.text)] for _, q in asked]
    images = [[load_image(b.images / name) for name in q.images] for b, q in asked]
    return context.encoder.encode_prompts(turns, images)


def _build(source: ModelSource, config: Any, recipe: Recipe, device: Any) -> Any:
    """A model of that configuration with random weights and the recipe's adapter."""
    import transformers

    extra = {"attn_implementation": source.attention} if source.attention else {}
    with torch.device(device):
        auto: Any = transformers.AutoModelForImageTextToText
        model = auto.from_config(config, dtype=_dtype(source, config), **extra)
    return attach(model, **recipe.adapter.options)


def _dtype(source: ModelSource, config: Any) -> torch.dtype:
    if source.torch_dtype != "auto":
        return getattr(torch, source.torch_dtype)  # type: ignore[no-any-return]
    return config.dtype or config.get_text_config().dtype or torch.float32


def _everywhere(recipe: Recipe) -> Recipe:
    """The recipe with its adapter on all layers of a part: a cut model lacks those of a range."""
    adapter = recipe.adapter
    if not isinstance(adapter.placement, tuple):
        return recipe
    places = tuple(place.model_copy(update={"layers": "all"}) for place in adapter.placement)
    adapter = adapter.model_copy(update={"placement": places})
    return recipe.model_copy(update={"adapter": adapter})


def _cut(config: Any, text: int, vision: int) -> Any:
    """The same model with so many layers in its towers."""
    cut = copy.deepcopy(config)
    _shorten(cut.get_text_config(), text)
    _shorten(getattr(cut, "vision_config", None), vision)
    if isinstance(getattr(cut, "vision_feature_layer", None), int):
        cut.vision_feature_layer = -1
    return cut


def _shorten(part: Any, layers: int) -> None:
    for name in _DEPTHS:
        if getattr(part, name, None):
            setattr(part, name, layers)
    if getattr(part, "layer_types", None):
        part.layer_types = part.layer_types[:layers]


def _depth(part: Any) -> int:
    return next((getattr(part, name) for name in _DEPTHS if getattr(part, name, None)), 0)
