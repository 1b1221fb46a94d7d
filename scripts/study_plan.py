"""What the study consists of: which runs there are, what each is made of, which table it is in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from adaptinf.data.world.build import WorldSizes

FOLDER = Path(__file__).parents[1] / "configs" / "study"
BASE = FOLDER / "base.yaml"
PLAN = FOLDER / "plan.yaml"


def _even(sizes: WorldSizes) -> dict[str, dict[str, int]]:
    """As many rows in all, the same number of each skill that a dataset has."""
    total = sum(sum(skills.values()) for skills in sizes.datasets.values())
    number = total // sum(len(skills) for skills in sizes.datasets.values())
    return {name: dict.fromkeys(skills, number) for name, skills in sizes.datasets.items()}


WORLDS: Mapping[str, WorldSizes] = {
    "embedded": WorldSizes(),
    "balanced": WorldSizes(repeats=0.0, datasets=_even(WorldSizes())),
    "reduced": WorldSizes(scale=0.02, benchmark_rows=8),
}


@dataclass(frozen=True, slots=True)
class Table:
    """Runs that are compared with one another: ``ways`` by ``seeds``, all under one setting.

    Each way is paired, seed by seed, with those of ``against``. ``at`` says what is held equal.
    """

    name: str
    title: str
    at: str
    setting: str
    seeds: int
    against: Sequence[str]
    ways: Sequence[str]


@dataclass(frozen=True, slots=True)
class Cell:
    """One run: a way under a setting with a seed. Tables may share it."""

    setting: str
    way: str
    seed: int

    @property
    def name(self) -> str:
        """Its folder below that of all runs."""
        return f"{self.setting}/{self.way}-{self.seed}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole study; the first table is its summary.

    ``primary`` is the way named before, ``default`` the one that a recipe has which says nothing.
    """

    primary: str
    default: str
    measure: str
    settings: Mapping[str, Mapping[str, Any]]
    ways: Mapping[str, Mapping[str, Any]]
    tables: Sequence[Table]

    def world_of(self, cell: Cell) -> str:
        """Name of the world that a run learns from."""
        return str(self.settings[cell.setting]["world"])

    def overrides(self, cell: Cell, runs: Path) -> list[str]:
        """What ``run-lifelong`` would take behind ``configs/study/base.yaml`` for this run."""
        world = world_folder(runs, self.world_of(cell), cell.seed)
        settings = {
            "output_dir": str(runs / cell.name),
            "seed": cell.seed,
            "data.root": str(world),
            **{key: value for key, value in self.settings[cell.setting].items() if key != "world"},
            **self.ways[cell.way],
        }
        text = {key: json.dumps(value) for key, value in settings.items()}
        places = {"{world}": str(world), "{runs}": str(runs)}
        for mark, place in places.items():
            text = {key: value.replace(mark, place) for key, value in text.items()}
        return [f"{key}={value}" for key, value in text.items()]

    def cells(self, tables: Sequence[str], ways: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
        """The runs of these tables, ways and seeds (none named: all), each once, seed by seed.

        Table by table, so that the summary is there first.
        """
        found: dict[Cell, None] = {}
        for table in self.tables:
            if tables and table.name not in tables:
                continue
            for seed in range(table.seeds):
                for way in table.ways:
                    if (not ways or way in ways) and (not seeds or seed in seeds):
                        found[Cell(table.setting, way, seed)] = None
        return list(found)


def world_folder(runs: Path, world: str, seed: int) -> Path:
    """Where a world is written, once for all runs of a seed."""
    return runs / "worlds" / f"{world}-{seed}"


def rare_skills(world: str) -> list[str]:
    """Skills with fewer than half as many training rows as a skill has on average.

    From the sizes that the world is built with, over all its datasets.
    """
    sizes, rows = WORLDS[world], {}
    for dataset in sizes.datasets:
        for skill, number in sizes.rows(dataset).items():
            rows[skill] = rows.get(skill, 0) + number
    mean = sum(rows.values()) / len(rows)
    return sorted(skill for skill, number in rows.items() if 2 * number < mean)


def read_plan(*, reduced: bool = False) -> Plan:
    """The plan of ``configs/study/plan.yaml``; ``reduced``: its smallest table and nothing else."""
    content = yaml.safe_load(PLAN.read_text())
    tables = {"reduced": content["reduced"]} if reduced else content["tables"]
    return Plan(
        primary=content["primary"],
        default=content["default"],
        measure=content["measure"],
        settings=content["settings"],
        ways=content["ways"],
        tables=[Table(name, **described) for name, described in tables.items()],
    )
