from __future__ import annotations

import os

# One thread per process: the tiny model gains nothing from more, and kills are then repeatable.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

DRIVER = Path(__file__).with_name("stages") / "driver.py"
ROOT = DRIVER.parents[2]
TORCHRUN = (
    *(sys.executable, "-m", "torch.distributed.run"),
    *("--standalone", "--nproc-per-node", "2"),
)
"""What a command is begun with that two ranks run."""


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


class Drivers:
    """Processes that fork drivers, in turns: nothing may hang on the order of a set's elements."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._serving: list[subprocess.Popen] = []
        self._calls = 0

    def run(self, *arguments: str) -> subprocess.CompletedProcess:
        """The driver with these arguments and this process's environment."""
        if len(self._serving) < 2:
            self._serving.append(self._begin(hash_seed=len(self._serving) + 1))
        server = self._serving[self._calls % len(self._serving)]
        self._calls += 1
        printed = [self._scratch / f"{self._calls}.{name}" for name in ("out", "err")]
        told = [arguments, dict(os.environ), *map(str, printed)]
        server.stdin.write(json.dumps(told) + "\n")
        server.stdin.flush()
        status = int(server.stdout.readline())
        return subprocess.CompletedProcess(arguments, status, *(f.read_text() for f in printed))

    def end(self) -> None:
        for server in self._serving:
            server.stdin.close()
            server.wait()
            server.stdout.close()

    def _begin(self, hash_seed: int) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, str(DRIVER), "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": str(hash_seed)},
        )


@pytest.fixture(scope="session")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drivers]:
    drivers = Drivers(tmp_path_factory.mktemp("printed"))
    yield drivers
    drivers.end()


@dataclass(frozen=True)
class Runner:
    recipe: Path
    drivers: Drivers

    def __call__(
        self, run: Path, *overrides: str, kill: str = "", kill_after: str = "", term: str = ""
    ) -> subprocess.CompletedProcess:
        """The driver on this recipe with ``run`` as its output folder."""
        arguments = [str(self.recipe)]
        for option, where in (("kill", kill), ("kill-after", kill_after), ("term", term)):
            arguments += [f"--{option}", where] if where else []
        done = self.drivers.run(*arguments, f"output_dir={run}", *overrides)
        if not (kill or kill_after):
            assert done.returncode == 0, done.stderr
        return done


@pytest.fixture(scope="session")
def recipe_dict(small_world: Path) -> dict:
    return {
        "output_dir": "unused",
        "data": {"root": str(small_world)},
        "tasks": [{"dataset": "llava"}, {"dataset": "mantis"}],
        "featurize": {"dim": 64, "batch_tokens": 512, "max_rows": None},
        "select": {"budget": 12},
        "prune": {"pool_budget": 30},
        "train": {"learning_rate": 2.0e-3, "epochs": 2, "batch_size": 4},
        "evaluate": {"benchmarks": ["caption", "more"], "batch_size": 4},
    }


@pytest.fixture(scope="session")
def runner_of(
    tmp_path_factory: pytest.TempPathFactory, drivers: Drivers
) -> Callable[[dict], Runner]:
    def make(recipe: dict) -> Runner:
        file = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
        file.write_text(yaml.safe_dump(recipe))
        return Runner(file, drivers)

    return make


@pytest.fixture(scope="session")
def undisturbed(
    recipe_dict: dict, runner_of: Callable[[dict], Runner], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished two-task run."""
    run = tmp_path_factory.mktemp("runs") / "undisturbed"
    runner_of(recipe_dict)(run)
    return run
