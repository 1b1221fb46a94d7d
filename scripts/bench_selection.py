"""Time one whole ``adapt-inf-lite`` selection (prune the pool, then select) against the plain way.

The pool is synthetic: float16 rows on disk, skewed cluster sizes, a fifth of the rows near-copies
of earlier ones. The plain way is what one writes first: all rows as float32 in memory,
scikit-learn's MiniBatchKMeans, a full matrix of similarities per cluster, strata in Python lists.
Every cell runs in a process of its own, so that memory is its own: ``peak`` is all that was
resident, with the libraries and the pages of the features on disk; ``working`` is what the
selection itself allocated beyond the libraries.

``python scripts/bench_selection.py --rows 10000 100000`` (add 1000000 for the real thing: minutes).
``--clusters K`` keeps the number of clusters, which else grows with the pool (100 per 100,000 rows,
so that k-means alone grows with the square). ``--d2`` times D2 pruning instead.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SCORES = ("perplexity", "el2n", "entropy", "grand")
DUPLICATES = 0.2
PLAIN_LIMIT = 100_000

Cell = dict[str, float | int | str]


def main() -> None:
    """Run every cell and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--clusters", type=int, help="default: one per 1,000 rows, at least 10")
    parser.add_argument("--d2", action="store_true", help="time D2 pruning of a tenth of the rows")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, metavar="FILE", help="keep the results as JSON")
    parser.add_argument("--page", type=Path, help="put the table there, after <!-- FILE -->")
    parser.add_argument("--cell", nargs=3, metavar=("WAY", "FOLDER", "K"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell:
        way, folder, clusters = options.cell
        print(json.dumps(run_cell(way, Path(folder), int(clusters))))
        return
    cells = []
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as scratch:
            write_pool(Path(scratch), rows, options.dim)
            ways = ["ours", "plain"] if rows <= PLAIN_LIMIT else ["ours"]
            clusters = options.clusters or max(10, rows // 1000)
            for way in ["d2"] if options.d2 else ways:
                cells.append(in_process(way, Path(scratch), clusters))
    results = {"machine": machine(), "dim": options.dim, "cells": cells}
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")
    if options.out and options.page:
        put_table(options.page, options.out, table_of(cells))
    print(json.dumps(results, indent=1) if options.json else table_of(cells))


def put_table(page: Path, file: Path, table: str) -> None:
    """Replace what stands between the comment that names the file and the next ``<!-- end -->``."""
    opening, ending = f"<!-- {file} -->\n", "<!-- end -->"
    before, rest = page.read_text().split(opening)
    after = rest.split(ending, 1)[1]
    page.write_text(f"{before}{opening}\n```\n{table}\n```\n\n{ending}{after}")


def machine() -> dict[str, str | int | None]:
    """What the figures were taken on."""
    names = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {"cores": os.cpu_count(), "processor": names[0].split(":")[1].strip() if names else None}


def write_pool(folder: Path, rows: int, dim: int) -> None:
    """Skewed clusters (sizes fall as 1/rank) on the sphere, near-copies, and four scores."""
    rng = np.random.default_rng(0)
    skills = max(10, rows // 1000)
    sizes = 1 / np.arange(1, skills + 1)
    centres = rng.normal(size=(skills, dim)).astype(np.float32)
    owner = rng.choice(skills, rows, p=sizes / sizes.sum())
    copied = np.flatnonzero(rng.random(rows) < DUPLICATES)
    copied = copied[copied > 0]
    source = (rng.random(len(copied)) * copied).astype(np.int64)
    path = folder / "features.npy"
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(rows, dim))
    for start in range(0, rows, 50_000):
        part = centres[owner[start : start + 50_000]]
        out[start : start + 50_000] = part + rng.normal(size=part.shape).astype(np.float32)
    for start in range(0, len(copied), 10_000):
        some = slice(start, start + 10_000)
        noise = rng.normal(scale=0.05, size=(len(copied[some]), dim))
        out[copied[some]] = out[source[some]] + noise.astype(np.float16)
    out.flush()
    np.save(folder / "scores.npy", rng.gamma(2.0, size=(rows, len(SCORES))))


def in_process(way: str, folder: Path, clusters: int) -> Cell:
    """One cell in a process of its own."""
    command = [sys.executable, __file__, "--cell", way, str(folder), str(clusters)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: Cell = json.loads(done.stdout)
    print(json.dumps(result), file=sys.stderr)
    return result


def run_cell(way: str, folder: Path, clusters: int) -> Cell:
    """Prune to half of the pool, select a fortieth of it; D2 takes a tenth."""
    features = np.load(folder / "features.npy", mmap_mode="r")
    scores = dict(zip(SCORES, np.load(folder / "scores.npy").T, strict=True))
    rows = len(features)
    do: Callable[..., dict[str, float]] = {"ours": ours, "plain": plain, "d2": d2}[way]
    import sklearn.cluster  # noqa: F401  so that libraries do not count as working memory

    import selection.selector  # noqa: F401

    with Watch() as watch:
        parts = do(features, scores, rows // 2, rows // (10 if way == "d2" else 40), clusters)
    return {
        "rows": rows,
        "clusters": clusters,
        "way": way,
        **{name: round(seconds, 2) for name, seconds in parts.items()},
        "seconds": round(sum(parts.values()), 2),
        "peak_mib": round(memory("VmHWM")),
        "working_mib": round(watch.peak),
    }


def memory(field: str) -> float:
    """A field of this process's status in MiB (Linux). ``ru_maxrss`` would count its parent's."""
    return int(Path("/proc/self/status").read_text().split(f"{field}:")[1].split()[0]) / 1024


class Watch:
    """Highest memory of this process that is no file's, beyond what it had at the start, in MiB."""

    def __enter__(self) -> Watch:
        self.start, self.peak, self.over = memory("RssAnon"), 0.0, threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        return self

    def look(self) -> None:
        """Look every few milliseconds."""
        while not self.over.wait(0.004):
            self.peak = max(self.peak, memory("RssAnon") - self.start)

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()


class Stopwatch:
    """Seconds spent in functions that are timed."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, on the watch."""

        def wrapped(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - started

        return wrapped


def ours(
    features: np.ndarray, scores: dict[str, np.ndarray], kept: int, budget: int, k: int
) -> dict[str, float]:
    """Seconds of each part with this library, from the rows on disk."""
    from selection import Pool, clusterwise, prune, pruning, select

    ids = [str(i) for i in range(len(features))]
    parts = {}
    for name, home, run in (
        ("prune", pruning, lambda pool: prune(pool, kept, clusters=k)),
        ("select", clusterwise, lambda pool: select(pool, budget, "adapt-inf-lite", clusters=k)),
    ):
        watch = Stopwatch()
        home.cluster_rows = watch.timed(home.cluster_rows)
        started = time.perf_counter()
        run(Pool(ids, features, scores=scores))
        parts[f"{name}_cluster"] = watch.seconds
        parts[f"{name}_rows"] = time.perf_counter() - started - watch.seconds
    return parts


def d2(
    features: np.ndarray, scores: dict[str, np.ndarray], kept: int, budget: int, k: int
) -> dict[str, float]:
    """Seconds of the graph and of taking the rows."""
    from selection.graph import difficulty, spread_scores, take_rows
    from selection.neighbours import nearest_neighbours

    started = time.perf_counter()
    graph = nearest_neighbours(features)
    middle = time.perf_counter()
    take_rows(graph, spread_scores(graph, difficulty(scores[SCORES[0]])), budget)
    return {"graph": middle - started, "take": time.perf_counter() - middle}


def plain(
    features: np.ndarray, scores: dict[str, np.ndarray], kept: int, budget: int, k: int
) -> dict[str, float]:
    """The same two answers in the plain way."""
    from sklearn.cluster import MiniBatchKMeans

    watch, started = Stopwatch(), time.perf_counter()
    vectors = np.asarray(features, dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def clusters() -> list[np.ndarray]:
        labels = MiniBatchKMeans(k, batch_size=10_240, random_state=0).fit(vectors).labels_
        return [np.flatnonzero(labels == c) for c in range(k)]

    clusters = watch.timed(clusters)
    keep = []
    for rows in clusters():
        highest = np.triu(vectors[rows] @ vectors[rows].T, 1).max(axis=0, initial=-1)
        keep += rows[np.argsort(highest)[: kept // k]].tolist()
    pruned, middle = watch.seconds, time.perf_counter()
    rng, chosen = np.random.default_rng(0), []
    for rows in clusters():
        chosen += _plain_coverage(rows, scores, budget // k, rng)
    selecting, total = watch.seconds - pruned, time.perf_counter() - middle
    return {
        "prune_cluster": pruned,
        "prune_rows": middle - started - pruned,
        "select_cluster": selecting,
        "select_rows": total - selecting,
    }


def _plain_coverage(
    rows: np.ndarray, scores: dict[str, np.ndarray], budget: int, rng: np.random.Generator
) -> list[int]:
    """Best scorer by histogram entropy, then strata as Python lists, smallest first."""

    def entropy(column: np.ndarray) -> float:
        z = (column - column.mean()) / (column.std() or 1.0)
        p = np.histogram(np.clip(z, -4, 4), 50, (-4, 4))[0] / max(1, len(z))
        return float(-(p[p > 0] * np.log2(p[p > 0])).sum())

    if not len(rows):
        return []
    best = max(scores, key=lambda name: entropy(scores[name][rows]))
    column = scores[best][rows]
    edges = np.linspace(column.min(), column.max(), 51)
    strata = [
        [int(r) for r, s in zip(rows, column, strict=True) if low < s <= high]
        for low, high in itertools.pairwise(edges)
    ]
    chosen: list[int] = []
    for left, stratum in zip(range(50, 0, -1), sorted(strata, key=len), strict=True):
        take = min(len(stratum), (budget - len(chosen)) // left)
        chosen += rng.choice(stratum, take, replace=False).tolist() if take else []
    return chosen


def table_of(results: list[Cell]) -> str:
    """The cells as a plain table."""
    from adaptinf.console import table

    names = list(results[0])
    rows = [[str(result[name]) for name in names] for result in results]
    return table(rows, [name.replace("_", " ") for name in names])


if __name__ == "__main__":
    main()
