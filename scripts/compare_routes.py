"""The quickstart's sequence with every adapter route and every way across steps, side by side.

``python scripts/compare_routes.py --runs runs/routes --out docs/routes.json`` with, to write the
table there, ``--page docs/adapters.md``. One seed. Takes an hour; the same command goes on where it
was stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path

from safetensors import safe_open

from adaptinf.evaluation.matrix import AccuracyMatrix
from adaptinf.models.loading import ModelSource
from pages import markdown, put

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
    rows = [described(way, made(options.runs / way.replace(", ", "-"), WAYS[way])) for way in WAYS]
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
        arguments = ["configs/quickstart.yaml", f"output_dir={run}", *settings]
        subprocess.run([command, *arguments], check=True)
    return run


def described(way: str, run: Path) -> dict[str, object]:
    """What the table says of one run. Seconds are of the machine that made it."""
    matrix = AccuracyMatrix.from_json((run / "matrix.json").read_text())
    trainings = sorted(run.glob("steps/*/train"))
    steps = sum(len((folder / "log.jsonl").read_text().splitlines()) for folder in trainings)
    bill = json.loads((run / "cost.json").read_text())["steps"]
    seconds = sum(step["stages"]["train"]["seconds"] for step in bill if "train" in step["stages"])
    trained = numbers(trainings[-1] / "adapter" / "adapter_model.safetensors")
    base = numbers(Path(ModelSource("tiny").path) / "model.safetensors")
    return {
        "way": way,
        "parameters": f"{100 * trained / base:.1f}",
        "accuracy": f"{matrix.average_accuracy():.1f}",
        "learned": f"{matrix.learning_accuracy():.1f}",
        "forgetting": f"{matrix.forgetting('max-drop'):.1f}",
        "step": f"{seconds / steps:.2f}",
    }


def numbers(file: Path) -> int:
    """How many numbers the tensors of a file hold."""
    with safe_open(file, "pt") as stored:
        return sum(math.prod(stored.get_slice(key).get_shape()) for key in stored.keys())  # noqa: SIM118


if __name__ == "__main__":
    main()
