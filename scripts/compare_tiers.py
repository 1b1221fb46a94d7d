"""Is it enough to compute the gradients of twice the budget's rows? Runs with and without a cap.

The quickstart's sequence of the embedded world, with a budget of which the last pool holds 27
times as many rows: features of the whole pool, features of at most twice the budget's rows that a
cheap first look chooses (``featurize.max_rows: auto``), and rows at random for comparison. Each
way with the same five seeds; the last accuracies are compared seed by seed.

``python scripts/compare_tiers.py --runs runs/tiers --out docs/tiers.json`` with, to write the table
there, ``--page docs/performance.md``. Takes an hour; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from adaptinf.evaluation.matrix import AccuracyMatrix
from adaptinf.features.store import load_scores
from pages import markdown, put

BUDGET = 280
WAYS = {
    "every-row": ["featurize.max_rows=null"],
    "first-look": ["featurize.max_rows=auto"],
    "random": ["select.method=random"],
}
HEADS = {
    "way": "gradients of",
    "rows": "rows with gradients, last step",
    "seconds": "looking and scoring, s",
    "accuracy": "final average accuracy",
    "difference": "difference to every row, 95 %",
}
# Two-sided 95 % points of Student's t, by degrees of freedom.
T95 = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}


def main() -> None:
    """Make the runs that are not there yet, and write what they show."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=5, help="2 or more")
    parser.add_argument("--out", type=Path, help="keep the results as JSON")
    parser.add_argument("--page", type=Path, help="put the table there")
    options = parser.parse_args()
    runs = {
        way: [
            made(options.runs / f"{way}-{seed}", seed, WAYS[way]) for seed in range(options.seeds)
        ]
        for way in WAYS
    }
    results = {
        "budget": BUDGET,
        "seeds": options.seeds,
        "last_pool": pool_rows(runs["every-row"][0]),
        "ways": [compared(way, runs[way], runs["every-row"]) for way in WAYS],
    }
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")
    text = markdown(HEADS, [worded(way) for way in results["ways"]])
    if options.page:
        put(options.page, str(options.out), text)
    print(text, end="")


def made(run: Path, seed: int, settings: list[str]) -> Path:
    """The finished run in a folder, made or gone on with; one that has its report is as it is."""
    if (run / "report.html").is_file():
        return run
    command = Path(sys.executable).with_name("run-lifelong")
    general = [f"output_dir={run}", f"seed={seed}", f"select.budget={BUDGET}"]
    subprocess.run([command, "configs/quickstart.yaml", *general, *settings], check=True)
    return run


def compared(way: str, runs: list[Path], reference: list[Path]) -> dict[str, object]:
    """What a way's runs have come to, and by how much it differs from the reference's."""
    found, base = [accuracy(run) for run in runs], [accuracy(run) for run in reference]
    apart = [one - other for one, other in zip(found, base, strict=True)]
    margin = T95[len(runs) - 1] * statistics.stdev(apart) / math.sqrt(len(runs))
    return {
        "way": way,
        "rows": max(gradient_rows(run) for run in runs),
        "seconds": statistics.median(seconds(run) for run in runs),
        "accuracies": found,
        "differences": apart,
        "mean_difference": statistics.mean(apart),
        "margin": margin,
    }


def worded(way: dict[str, object]) -> dict[str, object]:
    """The numbers of a way as the table shows them."""
    apart = f"{way['mean_difference']:+.1f} ± {way['margin']:.1f}"
    return {
        "way": way["way"].replace("-", " "),
        "rows": f"{way['rows']:,}",
        "seconds": f"{way['seconds']:.0f}",
        "accuracy": f"{statistics.mean(way['accuracies']):.1f}",
        "difference": apart if any(way["differences"]) else "",
    }


def accuracy(run: Path) -> float:
    """Mean accuracy over all benchmarks after the last step, in percent."""
    return AccuracyMatrix.from_json((run / "matrix.json").read_text()).average_accuracy()


def last_step(run: Path) -> Path:
    """The folder of a run's last step."""
    return max((run / "steps").iterdir(), key=lambda step: int(step.name.split("-")[0]))


def gradient_rows(run: Path) -> int:
    """Rows whose features the last step has; they may be of earlier steps."""
    features = last_step(run) / "featurize"
    return load_scores(features).num_rows if features.exists() else 0


def pool_rows(run: Path) -> int:
    """Rows that the last step could select from."""
    return pq.read_metadata(last_step(run) / "ingest" / "pool.parquet").num_rows


def seconds(run: Path) -> float:
    """Spent on first looks and features in all steps."""
    steps = json.loads((run / "cost.json").read_text())["steps"]
    spent = [step["stages"].get(stage) for step in steps for stage in ("glance", "featurize")]
    return sum(part["seconds"] for part in spent if part)


if __name__ == "__main__":
    main()
