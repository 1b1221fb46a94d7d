"""What the recipes for real models cost, by arithmetic: rows, optimiser steps, operations, hours.

Nothing is fetched and nothing measured. Rows of every step come from the forecast that
``--dry-run`` uses, parameters from the published shapes, counted without weights, with the recipe's
own adapter. Sizes of datasets, lengths of rows and the rate of a GPU are those of recipe_facts.py.

``python scripts/forecast_recipes.py`` writes docs/recipes.json, the tables of docs/recipes.md, and
the line ``# Forecast:`` of each recipe.
"""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench_scale import RATE
from config import Recipe, load_recipe
from pages import markdown, put
from recipe_facts import (
    ANSWER,
    BANDWIDTH,
    CAPTION,
    CAPTIONED,
    DATA,
    LONG,
    LOOK,
    QUESTIONS,
    SHORT,
    SMALL_RATE,
    VAL2014,
    Data,
)
from recipe_models import SHAPES, Parameters, parameters

ROOT = Path(__file__).parents[1]
CONFIGS, DOCS = ROOT / "configs", ROOT / "docs"

_PLACE = re.compile(r"^# Forecast:.*\n(?:# .* GB to fetch; .*\n)?", re.MULTILINE)
"""Where a recipe tells its forecast."""

HEADS = {
    "recipe": "recipe",
    "model": "parameters, billions",
    "trained": "trained, millions",
    "pool": "rows in the last pool",
    "steps": "optimiser steps in all",
    "features": "features, EFLOP",
    "train": "training, EFLOP",
    "evaluate": "evaluation, EFLOP",
    "hours": "GPU hours",
    "memory": "memory of one GPU, GB",
    "disk": "features on disk, GB",
    "fetch": "to fetch, GB",
}


@cache
def grounded_pass() -> float:
    """Forward passes that the feature pass with image grounding costs, as it was measured."""
    bars = json.loads((DOCS / "bench/features.json").read_text())["bars"]
    return next(b["ratio"] for b in bars if b["bar"].startswith("features and grounding"))


def step_rows(recipe: Recipe) -> list[Any]:
    """Rows of each step, as the forecast of ``--dry-run`` has them."""
    from stages.context import Step
    from stages.flow import foretold
    from stages.walk import StepWorks

    looks = [
        SimpleNamespace(
            usable=min(data.rows, task.limit or data.rows), tokens=data.text, row_bytes=0
        )
        for task in recipe.tasks
        for data in [DATA[task.dataset]]
    ]
    steps = [StepWorks(Step(i, t.label), ()) for i, t in enumerate(recipe.tasks, 1)]
    return list(foretold(recipe, looks, steps))


def asked(recipe: Recipe) -> Iterator[tuple[str, int]]:
    """Benchmarks and how many of their questions are asked, of the base model and after each step.

    Between the first and the last step large benchmarks are asked 500 of theirs.
    """
    for step in range(len(recipe.tasks) + 1):
        for name in recipe.evaluate.benchmarks:
            number = min(QUESTIONS[name][0], recipe.evaluate.limit or QUESTIONS[name][0])
            between = 0 < step < len(recipe.tasks)
            yield name, 500 if between and number > 2000 else number


def forward(recipe: Recipe, model: Parameters, text: float, images: float) -> float:
    """Operations of one row's forward pass."""
    shape = SHAPES[recipe.model.name]
    replaced = recipe.adapter.mode == "replace"
    tokens = text + images * (1 if replaced else shape.tokens)
    seen = 2 * model.vision * shape.patches * images
    return 2 * (model.text + model.trained) * tokens + seen


def cost(recipe: Recipe, model: Parameters) -> dict[str, float]:
    """Operations of each part, the optimiser's steps, and seconds of waiting for memory."""
    steps = step_rows(recipe)
    rows = [DATA[task.dataset] for task in recipe.tasks]
    flops = {"features": 0.0, "train": 0.0}
    updates = 0
    for number, step in enumerate(steps, 1):
        passing = _mean_forward(recipe, model, rows[:number])
        if recipe.select.method not in ("random", "sequential", "multitask"):
            flops["features"] += step.scored.number * passing * grounded_pass()
            flops["features"] += step.glanced.number * passing * LOOK
        settings = recipe.train
        # Forward, backward through frozen weights, and with checkpointing forward once more.
        again = 3 if settings.gradient_checkpointing else 2
        vision = 0.0 if model.sees else _mean_vision(recipe, model, rows[:number])
        one = again * (passing - vision) + vision
        trained = step.chosen.number * settings.epochs
        flops["train"] += trained * one
        updates += math.ceil(trained / (settings.batch_size * settings.accumulate))
    evaluated, decoding = 0.0, 0.0
    for name, number in asked(recipe):
        evaluated += number * forward(recipe, model, SHORT, 0 if name == "mmlu" else 1)
        tokens = CAPTION if name == "coco_captions" else ANSWER
        batches = math.ceil(number / recipe.evaluate.batch_size)
        decoding += batches * (tokens - 1) * 2 * model.whole / BANDWIDTH
    return {**flops, "evaluate": evaluated, "decoding": decoding, "steps": updates}


def _mean_forward(recipe: Recipe, model: Parameters, rows: Sequence[Data]) -> float:
    """Of a row of the pool, in which each dataset has its share."""
    total = sum(data.rows for data in rows)
    each = [data.rows * forward(recipe, model, data.text, data.per_row) for data in rows]
    return sum(each) / total


def _mean_vision(recipe: Recipe, model: Parameters, rows: Sequence[Data]) -> float:
    images = sum(data.rows * data.per_row for data in rows) / sum(data.rows for data in rows)
    return 2 * model.vision * SHAPES[recipe.model.name].patches * images


def to_fetch(recipe: Recipe, model: Parameters) -> tuple[float, bool]:
    """GB of weights, datasets and benchmarks, and whether a part of unknown size comes on top."""
    parts: list[float | None] = [2e-9 * model.whole]  # bfloat16, as published
    for task in recipe.tasks:
        data = DATA[task.dataset]
        share = min(1.0, task.limit / data.rows) if task.limit else 1.0
        parts += [data.labels, None if data.images is None else data.images * share]
    shared = [name for name in recipe.evaluate.benchmarks if name in VAL2014]
    alone = [name for name in recipe.evaluate.benchmarks if name not in shared[1:]]
    parts += [QUESTIONS[name][1] for name in alone]
    return sum(part for part in parts if part is not None), None in parts


def memory(recipe: Recipe, model: Parameters) -> float:
    """Bytes of weights, and of training or the feature pass on one GPU, as the bill guesses them.

    Value, gradient and both moments of what is trained, the logits thrice, and activations of one
    layer with checkpoints, of all above the recipe's in the feature pass.
    """
    from adaptinf.models.parts import layer_index
    from stages.bill import ACTIVATIONS

    shape = SHAPES[recipe.model.name]
    text = {"hidden_size": 4096, "num_hidden_layers": 32, **shape.config["text_config"]}
    hidden, layers = text["hidden_size"], text["num_hidden_layers"]
    settings, rows = recipe.train, [DATA[task.dataset] for task in recipe.tasks]
    image = 1 if recipe.adapter.mode == "replace" else shape.tokens
    longest = max((data.text + data.per_row * image for data in rows), default=0)
    tokens = settings.batch_size * longest
    kept = ACTIVATIONS * hidden * 2 * tokens * (1 if settings.gradient_checkpointing else layers)
    training = 16 * model.trained + 12 * tokens * text["vocab_size"] + kept
    above = layers - layer_index(recipe.featurize.layer, layers)
    scored = recipe.select.method != "multitask" and bool(rows)
    scoring = ACTIVATIONS * hidden * 2 * recipe.featurize.batch_tokens * above * scored
    return float(2 * model.whole + max(training, scoring))


def kept_features(recipe: Recipe, rows: Sequence[Any]) -> float:
    """Bytes of all steps' features: each step holds those of all its candidates."""
    text = SHAPES[recipe.model.name].config["text_config"]
    width = recipe.featurize.dim + text.get("hidden_size", 4096)
    return 2.0 * width * sum(step.candidates.number for step in rows)


def forecast(recipe: Recipe, name: str) -> dict[str, Any]:
    """A line of the table, and what else the page tells."""
    model = parameters(recipe)
    told = cost(recipe, model)
    flops = told["features"] + told["train"] + told["evaluate"]
    gigabytes, more = to_fetch(recipe, model)
    rows = step_rows(recipe)
    guessed = any(DATA[task.dataset].guessed for task in recipe.tasks)
    all_trained = recipe.select.method == "multitask"
    return {
        "recipe": f"`{name}`",
        "model": f"{model.whole / 1e9:.2f}",
        "trained": f"{model.trained / 1e6:.1f}" if rows else "-",
        "pool": _counted(rows[-1].pool.number, guessed) if rows else "-",
        "steps": _counted(int(told["steps"]), guessed and all_trained) if rows else "-",
        "features": _exa(told["features"]),
        "train": _exa(told["train"]),
        "evaluate": _exa(told["evaluate"]),
        "hours": _rounded((flops / RATE + told["decoding"]) / 3600),
        "memory": _rounded(memory(recipe, model) / 1e9),
        "disk": _rounded(kept_features(recipe, rows) / 1e9) if told["features"] else "-",
        "fetch": f"{'more than ' if more else ''}{_rounded(gigabytes)}",
        "hours_small": _rounded((flops / SMALL_RATE + told["decoding"]) / 3600),
    }


def _rounded(number: float) -> str:
    return f"{number:.1f}" if number < 10 else f"{number:.0f}"


def _counted(number: int, guessed: bool) -> str:
    """Three digits of what rests on a guess, all of what does not."""
    return f"about {int(float(f'{number:.3g}')):,}" if guessed else f"{number:,}"


def _exa(flops: float) -> str:
    return f"{float(f'{flops / 1e18:.3g}'):g}" if flops else "-"


def recipes() -> dict[str, Recipe]:
    """The recipes for real models, by name."""
    found = {file.stem: load_recipe(file) for file in sorted(CONFIGS.glob("*.yaml"))}
    return {name: recipe for name, recipe in found.items() if recipe.model.name != "tiny"}


def told(line: Mapping[str, Any]) -> str:
    """The line ``# Forecast:`` of a recipe."""
    updates = f"{line['steps']} optimiser steps, " if line["steps"] != "-" else ""
    small = f" ({line['hours_small']} at a quarter)" if float(line["hours_small"]) < 1 else ""
    what = (
        f"# Forecast: {updates}{line['hours']} GPU hours at {RATE:.3g} operations a second{small}"
    )
    return f"{what},\n# {line['fetch']} GB to fetch; what that assumes is in docs/recipes.md."


def assumptions() -> str:
    """What the page says was assumed, with the numbers of this file."""
    text = (
        f"A GPU does {RATE:.3g} operations a second, two fifths of what an A100 is sold for, and"
        f" reads {BANDWIDTH / 1e12:g} TB of its memory in that time. The feature pass costs"
        f" {grounded_pass():.2f} forward passes. A row has {LONG} text tokens in `llava`, `lamm`,"
        f" `lavin` and `minigpt4`, {CAPTIONED} in `coco_captions` and {SHORT} in all others; an"
        " image 576 tokens in LLaVA at 336 pixels, 256 at 224, and 300 in Qwen3-VL; an answer"
        f" {ANSWER} tokens, a caption {CAPTION}."
    )
    return textwrap.fill(text, 110) + "\n"


def main() -> None:
    """Reckon, and put the numbers where they are shown."""
    lines = [forecast(recipe, name) for name, recipe in recipes().items()]
    kept = {"assumptions": assumptions(), "lines": lines}
    (DOCS / "recipes.json").write_text(json.dumps(kept, indent=1) + "\n")
    put(DOCS / "recipes.md", "docs/recipes.json", shown(kept))
    for line in lines:
        file = CONFIGS / f"{line['recipe'].strip('`')}.yaml"
        text = file.read_text()
        file.write_text(_PLACE.sub(f"{told(line)}\n", text))
    print(shown(kept))


def shown(kept: Mapping[str, Any]) -> str:
    """Table and assumptions as they stand on the page."""
    return f"{markdown(HEADS, kept['lines'])}\n{kept['assumptions']}"


if __name__ == "__main__":
    main()
