"""Put finished runs of the same benchmarks side by side: one row per run, as Markdown and JSON.

``python scripts/compare_runs.py runs/sequential runs/random runs/quickstart --out docs/baselines``
writes ``docs/baselines.json`` and ``docs/baselines.md``; with ``--page docs/embedded_world.md`` the
table is also put there, between the comments that name the second file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import yaml

from adaptinf.evaluation.matrix import AccuracyMatrix
from pages import markdown, put

HEADS = {
    "method": "selection",
    "average_accuracy": "final average accuracy",
    "learning_accuracy": "accuracy when learned",
    "forgetting_max_drop": "forgetting (max-drop)",
    "forgetting_end_drop": "forgetting (end-drop)",
    "select_seconds": "selecting, s",
    "train_seconds": "training, s",
}


def main() -> None:
    """Read the runs, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    rows = [describe(run) for run in options.runs]
    text, place = markdown(HEADS, rows), options.out.with_suffix(".md")
    options.out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    place.write_text(text)
    if options.page:
        put(options.page, str(place), text)
    print(text, end="")


def describe(run: Path) -> dict[str, str | int | float | None]:
    """What the table says of one run. Seconds are of the machine that made it."""
    recipe = yaml.safe_load((run / "config.resolved.yaml").read_text())
    matrix = AccuracyMatrix.from_json((run / "matrix.json").read_text())
    cost: dict[str, float] = {}
    for step in json.loads((run / "cost.json").read_text())["steps"]:
        for stage, spent in step["stages"].items():
            cost[stage] = cost.get(stage, 0.0) + spent["seconds"]
    return {
        "method": recipe["select"]["method"],
        "budget": recipe["select"]["budget"],
        "seed": recipe["seed"],
        "average_accuracy": round(matrix.average_accuracy(), 1),
        "learning_accuracy": _rounded(matrix.learning_accuracy()),
        "forgetting_max_drop": _rounded(matrix.forgetting("max-drop")),
        "forgetting_end_drop": _rounded(matrix.forgetting("end-drop")),
        "select_seconds": round(cost.get("featurize", 0.0) + cost.get("select", 0.0)),
        "train_seconds": round(cost["train"]),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


if __name__ == "__main__":
    main()
