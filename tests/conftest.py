from __future__ import annotations

import os

# One thread per process: the tiny model gains nothing from more, and kills are then repeatable.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

DRIVER = Path(__file__).with_name("stages") / "driver.py"
ROOT = DRIVER.parents[2]


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded world in small: a few rows per skill and six questions per benchmark."""
    from adaptinf.data.world import build_world
    from adaptinf.data.world.build import WorldSizes

    root = tmp_path_factory.mktemp("world")
    return build_world(root, seed=0, sizes=WorldSizes(scale=0.01, benchmark_rows=6))


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, str]]:
    """Digest of every file of a run that must be a pure function of recipe and data."""
    return _contents


def _contents(run: Path) -> dict[str, str]:
    files = [run / "matrix.json", *sorted((run / "steps").rglob("*"))]
    return {
        str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.is_file()
    }


@dataclass(frozen=True)
class Runner:
    recipe: Path

    def __call__(
        self, run: Path, *overrides: str, kill: str = "", kill_after: str = "", term: str = ""
    ) -> subprocess.CompletedProcess:
        """The driver on this recipe with ``run`` as its output folder."""
        command = [sys.executable, str(DRIVER), str(self.recipe)]
        for option, where in (("kill", kill), ("kill-after", kill_after), ("term", term)):
            command += [f"--{option}", where] if where else []
        command += [f"output_dir={run}", *overrides]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        if not (kill or kill_after):
            assert done.returncode == 0, done.stderr
        return done


@pytest.fixture(scope="session")
def recipe_dict(small_world: Path) -> dict:
    return {
        "output_dir": "unused",
        "data": {"root": str(small_world)},
        "tasks": [{"dataset": "llava"}, {"dataset": "mantis"}],
        "featurize": {"dim": 64, "batch_tokens": 512},
        "select": {"budget": 12},
        "prune": {"pool_budget": 30},
        "train": {"learning_rate": 2.0e-3, "epochs": 2, "batch_size": 4},
        "evaluate": {"benchmarks": ["caption", "more"], "batch_size": 4},
    }


@pytest.fixture(scope="session")
def runner_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict], Runner]:
    def make(recipe: dict) -> Runner:
        file = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
        file.write_text(yaml.safe_dump(recipe))
        return Runner(file)

    return make


@pytest.fixture(scope="session")
def undisturbed(
    recipe_dict: dict, runner_of: Callable[[dict], Runner], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished two-task run."""
    run = tmp_path_factory.mktemp("runs") / "undisturbed"
    runner_of(recipe_dict)(run)
    return run
