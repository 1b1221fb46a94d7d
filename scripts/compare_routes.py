"""The quickstart's sequence with every adapter route and every way across steps, side by side.

``python scripts/compare_routes.py --runs runs/routes --out docs/routes.json`` with, to write the
table there, ``--page docs/adapters.md``. One seed. Takes an hour; the same command goes on where it
was stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from adaptinf.adapters import attach
from adaptinf.data.pool import read_pool
from adaptinf.evaluation.matrix import AccuracyMatrix
from adaptinf.models.loading import ModelSource, load_model
from config import load_recipe
from pages import markdown, put
from stages.manager import open_context

EVERY_ROW = ["featurize.max_rows=null"]  # no first look between the routes
WAYS = {
    "lora": [],
    "dora": ["adapter.route=dora"],
    "conlora": ["adapter.route=conlora"],
    "mixlora": ["adapter.route=mixlora", "adapter.r=4"],
    "adem": ["adapter.route=adem"],
    "adem, replace": ["adapter.route=adem", "adapter.mode=replace"],
    "full": ["adapter.route=full", "train.learning_rate=3.0e-4"],
    "lora, new_per_task": ["adapter.across_steps=new_per_task"],
    "lora, merge_and_new": ["adapter.across_steps=merge_and_new"],
    "lora, ema": ["adapter.average=ema"],
    "lora, interpolate": ["adapter.average=interpolate"],
}
ROUNDS = 15
HEADS = {
    "way": "route",
    "parameters": "parameters trained, %",
    "accuracy": "final average accuracy",
    "learned": "accuracy when learned",
    "forgetting": "forgetting (max-drop)",
    "step": "seconds per training step",
}


def main() -> None:
    """Make the runs that are not there yet, and write what they show."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--out", type=Path, help="keep the results as JSON")
    parser.add_argument("--page", type=Path, help="put the table there")
    options = parser.parse_args()
    runs = {way: made(options.runs / way.replace(", ", "-"), WAYS[way]) for way in WAYS}
    seconds = step_seconds(runs)
    rows = [described(way, run, seconds[way]) for way, run in runs.items()]
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")
    text = markdown(HEADS, rows)
    if options.page:
        put(options.page, str(options.out), text)
    print(text, end="")


def made(run: Path, settings: list[str]) -> Path:
    """The finished run in a folder, made or gone on with; one that has its report is as it is."""
    if not (run / "report.html").is_file():
        command = Path(sys.executable).with_name("run-lifelong")
        arguments = ["configs/quickstart.yaml", f"output_dir={run}", *EVERY_ROW, *settings]
        subprocess.run([command, *arguments], check=True)
    return run


def step_seconds(runs: dict[str, Path]) -> dict[str, float]:
    """Median seconds of a step of each way's training on the same rows; the ways take turns."""
    steps = {way: step_of(run, WAYS[way]) for way, run in runs.items()}
    seconds: dict[str, list[float]] = {way: [] for way in steps}
    for _ in range(ROUNDS + 1):
        for way, step in steps.items():
            started = time.perf_counter()
            step()
            seconds[way].append(time.perf_counter() - started)
    return {way: statistics.median(mine[1:]) for way, mine in seconds.items()}


def step_of(run: Path, settings: list[str]) -> Callable[[], None]:
    """Forward, backward and the optimiser's step on a batch of the last pool."""
    told = [f"output_dir={run}", *EVERY_ROW, *settings]
    recipe = load_recipe(Path("configs/quickstart.yaml"), told)
    context = open_context(recipe)
    pool = read_pool(max(run.glob("steps/*/ingest/pool.parquet")))
    rows = np.random.default_rng(0).permutation(len(pool))[: recipe.train.batch_size]
    batch = context.collator([pool.sample(int(i)) for i in rows])
    model = attach(load_model(ModelSource("tiny")), **recipe.adapter.options).train()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])

    def step() -> None:
        optimiser.zero_grad()
        model(**batch).loss.backward()
        optimiser.step()

    return step


def described(way: str, run: Path, step: float) -> dict[str, object]:
    """What the table says of one run."""
    matrix = AccuracyMatrix.from_json((run / "matrix.json").read_text())
    adapter = max(run.glob("steps/*/train/adapter"))
    trained = numbers(adapter / "adapter_model.safetensors")
    base = numbers(Path(ModelSource("tiny").path) / "model.safetensors")
    return {
        "way": way,
        "parameters": f"{100 * trained / base:.1f}",
        "accuracy": f"{matrix.average_accuracy():.1f}",
        "learned": f"{matrix.learning_accuracy():.1f}",
        "forgetting": f"{matrix.forgetting('max-drop'):.1f}",
        "step": f"{step:.2f}",
    }


def numbers(file: Path) -> int:
    """How many numbers the tensors of a file hold."""
    with safe_open(file, "pt") as stored:
        return sum(math.prod(stored.get_slice(key).get_shape()) for key in stored.keys())  # noqa: SIM118


if __name__ == "__main__":
    main()
