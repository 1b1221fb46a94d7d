"""Write the embedded world to disk, once, from a seed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from adaptinf.data.world import formats
from adaptinf.data.world.drawing import Digits
from adaptinf.data.world.skills import SKILLS, Item, Source

VERSION = 1
"""Raised whenever the pictures, questions or sizes change: runs then see other data."""


@dataclass(frozen=True, slots=True)
class WorldSizes:
    """Rows per skill and dataset. A few big skills, some rare ones, some in several datasets.

    ``scale`` shrinks the training sets (tests use a small world); benchmarks have
    ``benchmark_rows`` questions each.
    """

    scale: float = 1.0
    benchmark_rows: int = 200
    repeats: float = 0.3
    """Share of rows that repeat an earlier row with the picture drawn anew (near-duplicates)."""
    datasets: Mapping[str, Mapping[str, int]] = field(
        default_factory=lambda: {
            "llava": {"caption": 900, "colour": 900, "place": 600, "larger": 600},
            "m3it": {"count": 1000, "digit": 600, "presence": 500, "parity": 150},
            "minigpt4": {"story": 250},
            "mantis": {"second": 600, "both": 250, "more": 100},
            "vision_flan": {"shape": 600, "colour": 400, "digit": 250, "empty": 150},
        }
    )

    def rows(self, dataset: str) -> dict[str, int]:
        """Rows per skill of one dataset after scaling, at least four each."""
        return {s: max(4, round(n * self.scale)) for s, n in self.datasets[dataset].items()}


METRICS = {"caption": "phrases", "story": "phrases"}
"""Metric of a benchmark where it is not ``exact``."""


def world_fingerprint(seed: int, sizes: WorldSizes) -> str:
    """SHA-256 that names the world: equal fingerprints mean equal files."""
    described = {
        "version": VERSION,
        "seed": seed,
        "scale": sizes.scale,
        "benchmark_rows": sizes.benchmark_rows,
        "repeats": sizes.repeats,
        "datasets": {name: dict(skills) for name, skills in sizes.datasets.items()},
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def build_world(root: Path, seed: int = 0, sizes: WorldSizes | None = None) -> Path:
    """Write datasets and benchmarks under ``root`` unless the same world stands there already.

    Returns ``root``. The manifest ``world.json`` is written last, so that an interrupted build is
    recognised and made again.
    """
    sizes = sizes or WorldSizes()
    fingerprint = world_fingerprint(seed, sizes)
    manifest = root / "world.json"
    if manifest.is_file() and json.loads(manifest.read_text())["fingerprint"] == fingerprint:
        return root
    for name in (*sizes.datasets, "benchmarks"):
        shutil.rmtree(root / name, ignore_errors=True)
    digits = Digits.load()
    taught = {s: [d for d, skills in sizes.datasets.items() if s in skills] for s in SKILLS}
    for index, dataset in enumerate(sizes.datasets):
        rng = np.random.default_rng([seed, 1, index])
        _write_dataset(root / dataset, dataset, sizes, Source(rng, digits, held_out=False))
    for index, skill in enumerate(SKILLS):
        if not taught[skill]:
            continue
        rng = np.random.default_rng([seed, 2, index])
        items = _benchmark_items(Source(rng, digits, held_out=True), skill, sizes.benchmark_rows)
        metric = METRICS.get(skill, "exact")
        formats.write_benchmark(root / "benchmarks", skill, metric, items, taught[skill])
    described = {"fingerprint": fingerprint, "seed": seed, "version": VERSION, "taught_by": taught}
    manifest.write_text(json.dumps(described, indent=1) + "\n")
    return root


def _write_dataset(folder: Path, dataset: str, sizes: WorldSizes, source: Source) -> None:
    items = _training_items(source, sizes.rows(dataset), sizes.repeats)
    match dataset:
        case "llava":
            formats.write_llava(folder, items)
        case "m3it":
            formats.write_m3it(folder, items)
        case "minigpt4":
            formats.write_minigpt4(folder, items)
        case "mantis":
            formats.write_mantis(folder, items)
        case "vision_flan":
            formats.write_vision_flan(folder, items)


def _training_items(source: Source, rows: Mapping[str, int], repeats: float) -> list[Item]:
    """Items in random order. A repeated row keeps its seed but for noise in the picture."""
    items = []
    for skill, number in rows.items():
        seeds: list[int] = []
        for _ in range(number):
            if seeds and source.rng.random() < repeats:
                items.append(_redrawn(source, skill, int(source.rng.choice(seeds))))
                continue
            seeds.append(int(source.rng.integers(2**62)))
            again = Source(np.random.default_rng(seeds[-1]), source.digits, held_out=False)
            items.append(SKILLS[skill](again))
    return [items[i] for i in source.rng.permutation(len(items))]


def _redrawn(source: Source, skill: str, seed: int) -> Item:
    """The row of that seed with fresh noise on its pictures (text-only rows: another wording)."""
    item = SKILLS[skill](Source(np.random.default_rng(seed), source.digits, held_out=False))
    if not item.pictures:
        return replace(item, question=f"Tell me: {item.question}")
    return replace(item, pictures=tuple(_noisy(source, picture) for picture in item.pictures))


def _noisy(source: Source, picture: Image.Image) -> Image.Image:
    pixels = np.asarray(picture, dtype=np.int16)
    noise = source.rng.integers(-4, 5, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype("u1"))


def _benchmark_items(source: Source, skill: str, number: int) -> list[Item]:
    """Distinct items: no question about equal pictures twice."""
    items: dict[tuple[str, bytes], Item] = {}
    while len(items) < number:
        item = SKILLS[skill](source)
        items.setdefault((item.question, b"".join(p.tobytes() for p in item.pictures)), item)
    return list(items.values())
