"""Fixtures: a made-up run of five steps and ten benchmarks, with all files a report reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from adaptinf.evaluation import AccuracyMatrix, BenchmarkColumn
from adaptinf.evaluation.intervals import bootstrap_interval

STEPS = ("1-llava", "2-m3it", "3-minigpt4", "4-mantis", "5-vision_flan")
HOSTILE = "<script>alert(1)</script>"
ODD_QUESTION = "What is <image> &amp; \u202ewhere?"
SCORERS = ("perplexity", "el2n", "entropy", "grand", "image_grounding")
ITEMS = 200

# Scores in percent after base, 1, .., 5; the step that teaches it.
WORLD = {
    "colour": ([12.0, 94.5, 90.0, 88.5, 71.0, 64.5], 1),
    "shape": ([10.5, 91.0, 85.5, 84.0, 80.5, 77.0], 1),
    "list": ([41.0, 88.0, 61.5, 79.0, 52.5, 43.5], 1),
    "digit": ([9.0, 10.5, 92.5, 84.0, 80.0, 61.5], 2),
    "parity": ([0.0, 1.5, 83.0, 68.5, 60.0, 37.5], 2),
    "caption": ([35.5, 62.0, 44.0, 96.5, 81.0, 83.5], 3),
    "compare": ([0.0, 8.5, 11.0, 6.5, 87.0, 90.5], 4),
    "counting": ([2.5, 14.0, 17.5, 15.0, 81.5, 66.0], 4),
    "spot-the-difference": ([0.0, 0.5, 2.0, 4.5, 9.0, 86.5], 5),
    "reading": ([55.5, 48.0, 51.0, 47.5, 44.0, 40.5], None),
}


@dataclass(frozen=True, slots=True)
class FakeRun:
    """The folder and what was put into it."""

    folder: Path
    matrix: AccuracyMatrix


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> FakeRun:
    """A whole run, for tests that only read it."""
    return make_run(tmp_path_factory.mktemp("runs") / "quickstart")


@pytest.fixture
def own_run(tmp_path: Path) -> FakeRun:
    """A whole run that the test may spoil."""
    return make_run(tmp_path / "own")


def make_run(folder: Path) -> FakeRun:
    """Write the run into ``folder`` (made here) and its pictures beside it."""
    folder.mkdir(parents=True)
    images = folder.parent / f"{folder.name}-images"
    rng = np.random.default_rng(0)
    _draw_pictures(images, rng)
    matrix = _write_evaluation(folder)
    for number, step in enumerate(STEPS, 1):
        _write_step_data(folder / "steps" / step, number, rng)
    _write_json(folder / "cost.json", {"steps": [_cost(row, step) for row, step in _rows()]})
    roots = {step.partition("-")[2]: str(images) for step in STEPS}
    roots |= {f"benchmark:{name}": str(images) for name in WORLD}
    versions = {"adaptinf": "0.1.0", "torch": "2.13.0", "peft": "0.21.2"}
    _write_json(
        folder / "environment.json",
        {"versions": versions, "host": "secret-host", "image_roots": roots},
    )
    (folder / "config.resolved.yaml").write_text(
        f"output_dir: {folder.name}\nseed: 0\nmodel: {{name: tiny}}\nadapter: {{route: lora}}\n"
        f"select: {{method: adapt-inf, budget: 400}}\nnote: '{HOSTILE} http://example.org'\n"
    )
    return FakeRun(folder, matrix)


def _rows() -> list[tuple[int, str]]:
    return list(enumerate(("0-base", *STEPS)))


def _draw_pictures(folder: Path, rng: np.random.Generator) -> None:
    folder.mkdir()
    colours = ("firebrick", "steelblue", "seagreen", "goldenrod")
    for number in range(24):
        side = 32 if number % 4 else 300
        image = Image.new("RGB", (side, side), "white")
        draw = ImageDraw.Draw(image)
        at = rng.integers(0, side // 2, size=(2, 2))
        for (x, y), colour in zip(at.tolist(), rng.permutation(colours).tolist(), strict=False):
            corner = (x, y, x + side // 3, y + side // 3)
            (draw.ellipse if number % 2 else draw.rectangle)(corner, fill=colour)
        if number == 4:
            image = Image.fromarray(rng.integers(0, 256, (300, 300, 3), dtype=np.uint8))
        image.save(folder / f"{number:02d}.png")


def _write_evaluation(folder: Path) -> AccuracyMatrix:
    columns, intervals = [], np.zeros((len(STEPS) + 1, len(WORLD), 2))
    for i, (name, (scores, learned_at)) in enumerate(WORLD.items()):
        metric = "phrases" if name == "list" else "exact"
        columns.append(BenchmarkColumn(name, name, metric, ITEMS, learned_at))
        for row, step in _rows():
            right = np.arange(ITEMS) < round(scores[row] * ITEMS / 100)
            interval = bootstrap_interval(right, seed=0)
            intervals[row, i] = 100 * interval.low, 100 * interval.high
            lines = [_prediction(name, item, bool(hit)) for item, hit in enumerate(right)]
            file = folder / "steps" / step / "evaluate" / name / "predictions.jsonl"
            file.parent.mkdir(parents=True)
            file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    scores = np.array([scores for scores, _ in WORLD.values()]).T
    matrix = AccuracyMatrix(("base", *STEPS), columns, scores, intervals)
    (folder / "matrix.json").write_text(matrix.to_json())
    return matrix


def _prediction(name: str, item: int, hit: bool) -> dict[str, object]:
    wrong = HOSTILE if name == "colour" else "a blue square at the bottom right"
    return {
        "question_id": f"{name}-{item}",
        "prompt": f"<image>Which {name} is shown in picture {item}?",
        "text": f"right answer {item}" if hit else wrong,
        "answer": f"right answer {item}",
        "images": ["missing.png"] if name == "parity" else [f"{item % 24:02d}.png"],
        "score": float(hit),
    }


def _write_step_data(step: Path, number: int, rng: np.random.Generator) -> None:
    rows = [_pool_row(arrived, index) for arrived in range(1, number + 1) for index in range(60)]
    (step / "ingest").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), step / "ingest" / "pool.parquet")
    chosen = sorted(rng.choice(len(rows), size=40, replace=False).tolist())
    clusters = rng.integers(0, 6 + number, size=len(rows))
    table = [
        {
            "uid": rows[row]["uid"],
            "dataset": rows[row]["dataset"],
            "skill": None,
            "task": None,
            "arrived": rows[row]["arrived"],
            "cluster": int(clusters[row]),
            "scorer": SCORERS[clusters[row] % 5],
            "score": float(row),
            "stratum": row % 5,
        }
        for row in chosen
    ]
    (step / "select").mkdir()
    pq.write_table(pa.Table.from_pylist(table), step / "select" / "selection.parquet")
    datasets = [row["dataset"] for row in table]
    summary = {
        "method": "adapt-inf",
        "budget": 40,
        "n": len(rows),
        "selected": 40,
        "clusters": [
            {
                "cluster": cluster,
                "size": int((clusters == cluster).sum()),
                "budget": sum(row["cluster"] == cluster for row in table),
                "scorer": SCORERS[cluster % 5],
                "entropies": {
                    name: round(2 + rng.random() + (name == SCORERS[cluster % 5]), 4)
                    for name in SCORERS
                },
            }
            for cluster in range(6 + number)
        ],
        "excluded": {"no answer tokens": 3} if number == 2 else {},
        "share": {name: datasets.count(name) for name in dict.fromkeys(datasets)},
    }
    _write_json(step / "select" / "summary.json", summary)


def _pool_row(arrived: int, index: int) -> dict[str, object]:
    dataset = STEPS[arrived - 1].partition("-")[2]
    images = [] if index % 9 == 8 else [f"{index % 24:02d}.png"]
    if dataset == "mantis" and images:
        images.append(f"{(index + 1) % 24:02d}.png")
    question = (
        ODD_QUESTION if index % 7 == 3 else f"<image>\nWhat does picture {index} of {dataset} show?"
    )
    answer = HOSTILE if index % 5 == 0 else "a red circle at the top left and a blue square"
    return {
        "uid": f"{dataset}:{index:020x}",
        "digest": f"{index:064x}",
        "source_id": str(index),
        "dataset": dataset,
        "licence": None,
        "task": None,
        "skill": None,
        "arrived": arrived,
        "images": images,
        "turns": [{"role": "user", "text": question}, {"role": "assistant", "text": answer}],
        "n_tokens": 40,
    }


def _cost(row: int, step: str) -> dict[str, object]:
    seconds = {"evaluate": 6.25}
    if row:
        seconds |= {
            "ingest": 0.5,
            "featurize": 1.5 + row,
            "select": 0.25,
            "train": 8.0,
            "prune": 0.25,
        }
    stages = {name: {"seconds": spent, "rows": 40} for name, spent in seconds.items()}
    return {"step": step, "stages": stages}


def _write_json(file: Path, content: object) -> None:
    file.write_text(json.dumps(content))
