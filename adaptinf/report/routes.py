"""Which skills share MixLoRA's factors, as the questions of benchmarks chose them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class SharedRoutes:
    """``shares`` [n, n] in percent: how much of their choices two of the n ``skills`` have alike.

    In each pool of each module a skill's choices are a distribution over the factors; two of them
    have ``sum(min(p, q))`` in common, and that is averaged over pools and modules.
    """

    skills: tuple[str, ...]
    shares: NDArray[np.float64]


def shared_routes(folders: Iterable[Path]) -> SharedRoutes | None:
    """Of the benchmarks in these folders; None where no two of them have counted routes."""
    # By skill, by module and pool, by factor; benchmarks of one skill are added up.
    counts: dict[str, dict[tuple[str, str], Counter[int]]] = {}
    for file in (folder / "routes.parquet" for folder in folders):
        for row in pq.read_table(file).to_pylist() if file.is_file() else ():
            pools = counts.setdefault(row["label"], {})
            chosen = pools.setdefault((row["layer"], row["side"]), Counter())
            chosen[row["factor"]] += row["count"]
    skills = tuple(counts)
    if len(skills) < 2:
        return None
    shares = np.empty((len(skills), len(skills)))
    for i, one in enumerate(skills):
        for j, other in enumerate(skills):
            alike = [_alike(chosen, counts[other][pool]) for pool, chosen in counts[one].items()]
            shares[i, j] = 100 * np.mean(alike)
    return SharedRoutes(skills, shares)


def _alike(one: Counter[int], other: Counter[int]) -> float:
    first, second = max(1, one.total()), max(1, other.total())
    return sum(min(count / first, other[factor] / second) for factor, count in one.items())
