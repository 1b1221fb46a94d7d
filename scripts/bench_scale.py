"""What a step costs at a million rows and at ten, from slopes that were measured at smaller sizes.

The slopes come from docs/bench/data.json (ingest) and selection.json (prune and select, with a
cluster for each thousand rows); what a pool takes on disk and in memory is measured here, at
two sizes. Features have a size that follows from their form; the time
of the feature pass is operations over a rate, both assumptions that stand on the page.

``python scripts/bench_scale.py`` writes docs/bench/pool.json, docs/scale.json and the table of
docs/scale.md; ``--project`` measures nothing and writes the last two.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pages import markdown, put

DOCS = Path(__file__).parents[1] / "docs"
SIZES = (20_000, 80_000)
ROWS = (1_000_000, 10_000_000)

PARAMETERS, TOKENS = 7e9, 801
"""A model of LLaVA-1.5-7B's shape, and a row of 576 image and 225 text tokens."""
RATE = 0.4 * 312e12
"""Operations a second of one GPU: two fifths of what an A100 is sold for. Not measured."""
GPUS = 8
DIM, HIDDEN = 1024, 4096

HEADS = {
    "what": "of one step",
    "at_1000000": "1,000,000 rows",
    "at_10000000": "10,000,000 rows",
    "from": "from",
}


def pool_of(rows: int) -> dict[str, float]:
    """Bytes of a pool of so many rows on disk, and what holding it as training does takes."""
    from bench_data import ingest_file, write_dataset

    with tempfile.TemporaryDirectory() as scratch:
        file = write_dataset(Path(scratch), rows, 20)
        ingest_file(file, None)
        # Another process: in this one the ingest has left room that would be taken again.
        command = [sys.executable, __file__, "--hold", str(file.with_suffix(".parquet"))]
        return json.loads(subprocess.check_output(command, text=True))


def held(pool_file: Path) -> dict[str, float]:
    """Read a pool, and look up rows by uid."""
    from adaptinf.data.pool import read_pool

    before, started = _anonymous(), time.perf_counter()
    pool = read_pool(pool_file)
    place = {uid: position for position, uid in enumerate(pool.uids)}
    seconds = round(time.perf_counter() - started, 2)
    taken = _anonymous() - before
    return {
        "rows": len(place),
        "bytes": pool_file.stat().st_size,
        "seconds": seconds,
        "memory": taken,
    }


def _anonymous() -> int:
    """Bytes of this process that no file backs."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def slope(cells: Sequence[Mapping[str, float]], key: str) -> float:
    """Growth by row between the smallest and the largest size."""
    return (cells[-1][key] - cells[0][key]) / (cells[-1]["rows"] - cells[0]["rows"])


def power(cells: Sequence[Mapping[str, float]], key: str, rows: int) -> float:
    """The last measured value, grown on as it grew between the last two sizes."""
    one, other = cells[-2:]
    exponent = math.log(other[key] / one[key]) / math.log(other["rows"] / one["rows"])
    return float(other[key] * (rows / other["rows"]) ** exponent)


def projected(bench: Path) -> list[dict[str, str]]:
    """The table, from what lies in ``docs/bench``."""
    ingest = [line for line in _read(bench, "data")["lines"] if line["lengths"] == "tiny"]
    read = [
        {"rows": float(line["rows"].replace(",", "")), "s": line["seconds"], "GB": line["peak"]}
        for line in ingest
    ]
    for cell in read:
        cell["GB"] = float(cell["GB"])
    pool = _read(bench, "pool")
    ours = [cell for cell in _read(bench, "selection")["cells"] if cell["way"] == "ours"]
    flops = 1.56 * 2 * PARAMETERS * TOKENS
    figures = {
        "ingest": (lambda n: hours(n * slope(read, "s")), "data.json, 2 cores"),
        "ingest, memory": (
            lambda n: size(1e9 * (read[0]["GB"] + n * slope(read, "GB"))),
            "data.json",
        ),
        "pool on disk": (lambda n: size(n * slope(pool, "bytes")), "pool.json"),
        "pool held by each rank in training, memory": (
            lambda n: size(n * slope(pool, "memory")),
            "pool.json",
        ),
        f"feature pass, {GPUS} GPUs": (lambda n: hours(n * flops / RATE / GPUS), "assumed rate"),
        "gradients on disk": (lambda n: size(n * 2 * DIM), "2 x 1,024 bytes"),
        "embeddings on disk": (lambda n: size(n * 2 * HIDDEN), "2 x 4,096 bytes"),
        "features held by select, memory": (
            lambda n: size(n * 2 * (DIM + HIDDEN)),
            "both, whole",
        ),
        "prune and select": (lambda n: hours(power(ours, "seconds", n)), "selection.json, 2 cores"),
        "prune and select, memory beside features": (
            lambda n: size(2**20 * power(ours, "working_mib", n)),
            "selection.json",
        ),
    }
    return [
        {"what": what, **{f"at_{n}": figure(n) for n in ROWS}, "from": source}
        for what, (figure, source) in figures.items()
    ]


def hours(seconds: float) -> str:
    """``4.9 min`` or ``3.2 h``."""
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """``1.3 GB``."""
    return f"{count / 1e9:.1f} GB"


def _read(bench: Path, name: str) -> Any:
    return json.loads((bench / f"{name}.json").read_text())


def main() -> None:
    """Measure what is missing, project, and keep both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", action="store_true", help="measure nothing")
    parser.add_argument("--hold", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.hold:
        print(json.dumps(held(asked.hold)))
        return
    if not asked.project:
        cells = [pool_of(rows) for rows in SIZES]
        (DOCS / "bench/pool.json").write_text(json.dumps(cells, indent=1) + "\n")
    lines = projected(DOCS / "bench")
    (DOCS / "scale.json").write_text(json.dumps({"lines": lines}, indent=1) + "\n")
    put(DOCS / "scale.md", "docs/scale.json", markdown(HEADS, lines))
    print(markdown(HEADS, lines))


if __name__ == "__main__":
    main()
