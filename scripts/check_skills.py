"""Check that each skill of the embedded world can be learned: 80 % from 400 of its own rows.

A world whose skills could not be learned would show underfitting and call it forgetting. Every
skill is trained alone on the shipped model, as the quickstart trains, and scored on its benchmark.
Prints a table; exit status 1 if a skill stays below the bar.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from adaptinf.adapters.attachment import attach
from adaptinf.console import quiet_libraries, table
from adaptinf.data.collator import Collator
from adaptinf.data.encoder import Encoder
from adaptinf.data.ingest import ingest
from adaptinf.data.pool import PoolTable
from adaptinf.data.source import find_source
from adaptinf.data.world import build_world
from adaptinf.data.world.build import WorldSizes
from adaptinf.evaluation.benchmarks import Benchmark, find_benchmarks
from adaptinf.evaluation.generation import Generator
from adaptinf.evaluation.scorers import scorer
from adaptinf.models.loading import ModelSource, load_model, load_processor
from adaptinf.training import TrainSettings, train_adapter

ROWS = 400
BAR = 80.0
TRAINING = TrainSettings(learning_rate=2e-3, epochs=5, batch_size=16)


def main() -> None:
    """Train and score every skill (or those named) by itself."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("skills", nargs="*")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    quiet_libraries()
    encoder = Encoder(load_processor(ModelSource("tiny")), 512)
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        benchmarks = find_benchmarks(build_world(Path(scratch)) / "benchmarks", "all")
        for benchmark in benchmarks:
            if not options.skills or benchmark.skill in options.skills:
                folder = Path(scratch) / f"only-{benchmark.skill}"
                results.append(check_skill(benchmark, encoder, folder))
    if options.json:
        print(json.dumps(results, indent=1))
    else:
        rows = [[r["skill"], f"{r['before']:.1f}", f"{r['after']:.1f}"] for r in results]
        print(table(rows, ["skill", "base model", f"after {ROWS} rows"]))
    raise SystemExit(any(result["after"] < BAR for result in results))


def check_skill(benchmark: Benchmark, encoder: Encoder, folder: Path) -> dict[str, str | float]:
    """Score before and after training on a world that has only this skill."""
    dataset = benchmark.taught_by[0]
    sizes = WorldSizes(
        benchmark_rows=1, repeats=0.0, datasets={dataset: {benchmark.skill: int(1.1 * ROWS)}}
    )
    root = build_world(folder, seed=1, sizes=sizes)
    media = folder / "media"
    source = find_source(dataset, root=root, media=media, recipe_dir=folder)
    pool = ingest(source, PoolTable.empty(), (), encoder, 1, media, limit=ROWS).pool
    base = load_model(ModelSource("tiny"))
    before = _score(base, encoder, benchmark, folder / "before.jsonl")
    model = attach(base, "lora", r=16, alpha=32, dropout=0)
    train_adapter(
        model.train(),
        Collator(encoder, lambda _: source.images),
        [pool.sample(i) for i in range(len(pool))],
        TRAINING,
        folder / "train",
        base="tiny",
    )
    after = _score(model.eval(), encoder, benchmark, folder / "after.jsonl")
    return {"skill": benchmark.skill, "rows": len(pool), "before": before, "after": after}


def _score(model: object, encoder: Encoder, benchmark: Benchmark, partial: Path) -> float:
    questions = benchmark.items()
    texts = Generator(model, encoder, 100).answer(benchmark, questions, partial)
    score = scorer(benchmark.metric)
    right = [score(text, q.answer) for text, q in zip(texts, questions, strict=True)]
    return 100 * sum(right) / len(right)


if __name__ == "__main__":
    main()
