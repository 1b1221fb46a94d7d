"""Time one whole ``adapt-inf-lite`` selection (prune the pool, then select) against the plain way.

The pool is synthetic: float16 rows on disk, skewed cluster sizes, a fifth of the rows near-copies
of earlier ones. The plain way is what one writes first: all rows as float32 in memory,
scikit-learn's MiniBatchKMeans, a full matrix of similarities per cluster, strata in Python lists.
Every cell runs in a process of its own, so that peak memory is its own.

``python scripts/bench_selection.py --rows 10000 100000`` (add 1000000 for the real thing: minutes).
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

SCORES = ("perplexity", "el2n", "entropy", "grand")
DUPLICATES = 0.2
PLAIN_LIMIT = 100_000


def main() -> None:
    """Run every cell and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cell", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell:
        print(json.dumps(run_cell(options.cell[0], Path(options.cell[1]))))
        return
    results = []
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as scratch:
            write_pool(Path(scratch), rows, options.dim)
            ways = ["ours", "plain"] if rows <= PLAIN_LIMIT else ["ours"]
            results += [in_process(way, Path(scratch)) for way in ways]
    print(json.dumps(results, indent=1) if options.json else table_of(results))


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


def in_process(way: str, folder: Path) -> dict[str, float | int | str]:
    """One cell in a process of its own."""
    command = [sys.executable, __file__, "--cell", way, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float | int | str] = json.loads(done.stdout)
    print(json.dumps(result), file=sys.stderr)
    return result


def run_cell(way: str, folder: Path) -> dict[str, float | int | str]:
    """Prune to half of the pool, select a fortieth of it; k from the rows (100 per 100,000)."""
    features = np.load(folder / "features.npy", mmap_mode="r")
    scores = dict(zip(SCORES, np.load(folder / "scores.npy").T, strict=True))
    rows, k = len(features), max(10, len(features) // 1000)
    do: Callable[..., tuple[float, float]] = {"ours": ours, "plain": plain}[way]
    pruning, selecting = do(features, scores, rows // 2, rows // 40, k)
    return {
        "rows": rows,
        "clusters": k,
        "way": way,
        "prune_seconds": round(pruning, 2),
        "select_seconds": round(selecting, 2),
        "seconds": round(pruning + selecting, 2),
        "peak_mib": round(peak_mib()),
    }


def peak_mib() -> float:
    """Highest resident memory of this process (Linux). ``ru_maxrss`` would count its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def ours(
    features: np.ndarray, scores: dict[str, np.ndarray], kept: int, budget: int, k: int
) -> tuple[float, float]:
    """Seconds of pruning and of selecting with this library, from the rows on disk."""
    from selection import Pool, prune, select

    ids = [str(i) for i in range(len(features))]
    started = time.perf_counter()
    prune(Pool(ids, features, scores=scores), kept, clusters=k)
    middle = time.perf_counter()
    select(Pool(ids, features, scores=scores), budget, "adapt-inf-lite", clusters=k)
    return middle - started, time.perf_counter() - middle


def plain(
    features: np.ndarray, scores: dict[str, np.ndarray], kept: int, budget: int, k: int
) -> tuple[float, float]:
    """The same two answers in the plain way."""
    from sklearn.cluster import MiniBatchKMeans

    started = time.perf_counter()
    vectors = np.asarray(features, dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def clusters() -> list[np.ndarray]:
        labels = MiniBatchKMeans(k, batch_size=10_240, random_state=0).fit(vectors).labels_
        return [np.flatnonzero(labels == c) for c in range(k)]

    keep = []
    for rows in clusters():
        highest = np.triu(vectors[rows] @ vectors[rows].T, 1).max(axis=0, initial=-1)
        keep += rows[np.argsort(highest)[: kept // k]].tolist()
    middle = time.perf_counter()
    rng, chosen = np.random.default_rng(0), []
    for rows in clusters():
        chosen += _plain_coverage(rows, scores, budget // k, rng)
    return middle - started, time.perf_counter() - middle


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


def table_of(results: list[dict[str, float | int | str]]) -> str:
    """The cells as a plain table."""
    from adaptinf.console import table

    names = ("rows", "clusters", "way", "prune_seconds", "select_seconds", "seconds", "peak_mib")
    return table(
        [[str(r[n]) for n in names] for r in results], [n.replace("_", " ") for n in names]
    )


if __name__ == "__main__":
    main()
