"""Time ingesting a dataset of LLaVA's shape, and reading rows of the pool in any order.

The file is generated: as many rows of each source as llava_v1_5_mix665k.json has, with as many
turns and as long texts, in one JSON array. Its rows share ``--images`` small JPEG files, so that
the table tells what rows cost; what an image of 640 x 480 costs, once each, stands beside it.
Every number of rows is ingested in a process of its own, whose peak of resident memory counts.
``with lengths`` measures every row in tokens besides, by the tokenizer of ``--processor``.

``python scripts/bench_data.py`` (a smaller trial: ``--rows 20000``).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pages import markdown, put

MOST_SECONDS, MOST_BYTES, MOST_BATCH_SECONDS = 180.0, 1.5e9, 0.05
BATCH, BATCHES = 1000, 20
SHORT = "\nAnswer the question using a single word or phrase."


@dataclass(frozen=True, slots=True)
class Share:
    """Rows of one source: how many, turns of a row, and words of a question and of an answer."""

    rows: int
    folder: str | None
    turns: int
    question: int
    answer: int
    ending: str = ""


# Counts as its authors give them; turns and words so that the whole is 1.03 GB, as theirs is.
SHARES = (
    Share(157_712, "coco/train2017", 2, 11, 62),
    Share(40_688, None, 5, 50, 250),
    Share(82_783, "coco/train2017", 5, 6, 1, SHORT),
    Share(72_140, "gqa/images", 10, 7, 1, SHORT),
    Share(8_998, "coco/train2017", 1, 8, 1, SHORT),
    Share(80_000, "ocr_vqa/images", 5, 8, 3, SHORT),
    Share(66_160, "coco/train2017", 1, 40, 1),
    Share(21_953, "textvqa/train_images", 1, 30, 12),
    Share(48_447, "coco/train2017", 6, 12, 4),
    Share(86_417, "vg/VG_100K", 10, 9, 4),
)
WHOLE = sum(share.rows for share in SHARES)


def write_dataset(folder: Path, rows: int, images: int) -> Path:
    """``rows`` rows of all sources in their proportions, mixed, and the images they share."""
    draw = random.Random(0)
    words = ["".join(draw.choices("etaoinshrdlu", k=draw.randint(2, 9))) for _ in range(20_000)]
    weights = np.cumsum([1 / rank for rank in range(1, len(words) + 1)]).tolist()

    def text(count: int) -> str:
        return " ".join(draw.choices(words, cum_weights=weights, k=max(1, count)))

    order = [share for share in SHARES for _ in range(round(share.rows * rows / WHOLE))]
    draw.shuffle(order)
    file = folder / "rows.json"
    with file.open("w") as out:
        for number, share in enumerate(order):
            turns = []
            for turn in range(share.turns):
                asked = text(share.question)
                if not turn:
                    asked = ("<image>\n" if share.folder else "") + asked + share.ending
                turns += [
                    {"from": "human", "value": asked},
                    {"from": "gpt", "value": text(draw.randint(1, 2 * share.answer))},
                ]
            row: dict[str, object] = {"id": f"{draw.randrange(rows):012}"}
            if share.folder:
                row["image"] = f"{share.folder}/{draw.randrange(images):012}.jpg"
            row["conversations"] = turns
            out.write(("[" if not number else ",\n") + json.dumps(row))
        out.write("]\n")
    noise = np.random.default_rng(0)
    for place in {share.folder for share in SHARES if share.folder}:
        (folder / place).mkdir(parents=True, exist_ok=True)
        for number in range(images):
            pixels = noise.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / place / f"{number:012}.jpg")
    return file


def ingest_file(file: Path, processor: str | None) -> dict[str, float]:
    """Ingest a file as the stage does; the pool is left beside it."""
    from adaptinf.data.encoder import Encoder
    from adaptinf.data.ingest import ingest
    from adaptinf.data.pool import PoolBuilder, TableWriter
    from adaptinf.data.source import find_source
    from adaptinf.models.loading import ModelSource, load_processor

    encoder = None
    if processor is not None:
        encoder = Encoder(load_processor(ModelSource(processor)), 1 << 20)
    started = time.perf_counter()
    source = find_source(
        str(file), root=file.parent, media=file.parent / "media", recipe_dir=file.parent
    )
    with TableWriter(file.with_suffix(".parquet")) as pool:
        result = ingest(source, PoolBuilder(pool.write), encoder, 1, file.parent / "media")
    seconds = time.perf_counter() - started
    return {"rows": result.counts.kept, "seconds": seconds, "peak": peak_bytes()}


def peak_bytes() -> float:
    """Largest resident memory of this process.

    Linux's ``getrusage`` would count that of the process which started it.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        if found:
            return 1024.0 * int(found[1])
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def batch_seconds(pool_file: Path) -> float:
    """Median seconds to read a batch of rows, drawn anew each time, from the pool."""
    from adaptinf.data.pool import read_pool

    pool = read_pool(pool_file)
    draw = np.random.default_rng(0)
    times = []
    for _ in range(BATCHES):
        positions = draw.choice(len(pool), BATCH, replace=False)
        started = time.perf_counter()
        samples = pool.samples(positions)
        times.append(time.perf_counter() - started)
        if len(samples) != BATCH:
            raise SystemExit("the pool gave another number of rows")
    return statistics.median(times)


def image_milliseconds() -> float:
    """What one JPEG of 640 x 480 costs when it is looked at."""
    from adaptinf.data.images import inspect_image

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jpg"
        ramp = np.linspace(0, 255, 640 * 480 * 3).reshape(480, 640, 3)
        noise = np.random.default_rng(0).normal(0, 12, ramp.shape)
        pixels = np.clip(ramp + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path, quality=90)
        times = []
        for _ in range(50):
            started = time.perf_counter()
            inspect_image(path)
            times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)


def measured(rows: int, images: int, processor: str | None) -> dict[str, object]:
    """One line of the table, by a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = write_dataset(Path(folder), rows, images)
        size = file.stat().st_size
        command = [sys.executable, __file__, "--file", str(file)]
        command += ["--processor", processor] if processor else []
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        result = json.loads(told.splitlines()[-1])
        batch = batch_seconds(file.with_suffix(".parquet"))
    return {
        "lengths": processor or "not measured",
        "rows": f"{result['rows']:,}",
        "file": f"{size / 1e9:.2f} GB",
        "seconds": round(result["seconds"], 1),
        "each": f"{1e6 * result['seconds'] / rows:.0f}",
        "peak": f"{result['peak'] / 1e9:.2f}",
        "batch": f"{1000 * batch:.0f}",
    }


HEADS = {
    "lengths": "lengths by",
    "rows": "rows",
    "file": "file",
    "seconds": "seconds",
    "each": "microseconds a row",
    "peak": "peak memory, GB",
    "batch": "1,000 rows of the pool, ms",
}


def main() -> None:
    """Print the table, and keep it where the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rows", type=int, action="append", help="[a tenth, and all]")
    parser.add_argument("--images", type=int, default=2000, help="in each folder [2000]")
    parser.add_argument("--processor", default=None, help="of the second kind of lines [tiny]")
    parser.add_argument("--out", type=Path, help="keep the numbers as JSON")
    parser.add_argument("--page", type=Path, help="put the table on this page")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.file:
        print(json.dumps(ingest_file(arguments.file, arguments.processor)))
        return
    sizes = arguments.rows or [WHOLE // 10, WHOLE]
    kinds = (None, arguments.processor or "tiny")
    lines = [measured(rows, arguments.images, kind) for kind in kinds for rows in sizes]
    told = {
        "lines": lines,
        "image_milliseconds": round(image_milliseconds(), 1),
        "cores": os.cpu_count(),
        "bars": {"seconds": MOST_SECONDS, "peak": MOST_BYTES, "batch": MOST_BATCH_SECONDS},
    }
    text = markdown(HEADS, lines)
    print(text)
    print(f"an image of 640 x 480: {told['image_milliseconds']} ms, once each")
    if arguments.out:
        arguments.out.write_text(json.dumps(told, indent=1) + "\n")
    if arguments.page:
        put(arguments.page, str(arguments.out or "bench_data"), text)


if __name__ == "__main__":
    main()
