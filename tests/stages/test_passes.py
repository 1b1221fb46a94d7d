"""Filling a store from a pool: within the memory, and by several ranks."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from adaptinf.distributed import Ranks
from adaptinf.errors import UserError
from adaptinf.features.glances import GlanceStore
from stages.passes import PoolPass, filled_by_ranks
from tests.conftest import DRIVER, ROOT, TORCHRUN

BATCHES = [np.array(rows) for rows in ([5, 0, 3, 1], [2, 4], [7, 6, 8])]
VALUES = np.arange(18, dtype=np.float32).reshape(9, 2)


class Pool:
    """Rows that are their own numbers."""

    uids = tuple(f"row:{i}" for i in range(9))

    def __len__(self) -> int:
        return 9

    def sample(self, position: int) -> int:
        return position

    def numbers(self, column: str) -> np.ndarray:
        return np.full(9, 100)


class Told:
    def __init__(self) -> None:
        self.notes, self.rows, self.whole = [], 0, ()

    def total(self, rows: int, done: int = 0) -> None:
        self.whole = (rows, done)

    def advance(self, rows: int) -> None:
        self.rows += rows

    def note(self, text: str) -> None:
        self.notes.append(text)


def passing(fits: int, error: BaseException, calls: list[int], ranks: Ranks | None = None):
    """A pass whose memory has room for so many rows at a time."""

    def compute(batch: dict) -> np.ndarray:
        calls.append(len(batch["rows"]))
        if len(batch["rows"]) > fits:
            raise error
        return VALUES[batch["rows"]]

    context = SimpleNamespace(
        ranks=ranks or Ranks(),
        collator=lambda samples: {"rows": list(samples)},
        recipe=SimpleNamespace(data=SimpleNamespace(workers=0)),
    )
    return PoolPass(context, Pool(), BATCHES, compute, np.concatenate)


def opened(folder: Path) -> GlanceStore:
    return GlanceStore(folder, 9, 2, BATCHES)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("no room"), RuntimeError("x: can't allocate memory: y")]
)
def test_a_batch_that_does_not_fit_is_halved_and_so_are_those_after_it(tmp_path, error):
    calls, told, store = [], Told(), opened(tmp_path)
    passing(2, error, calls).fill(store, store.pending, told)
    assert calls == [4, 2, 2, 1, 1, 2, 1]
    assert store.arrays.parts.tolist() == [2, 2, 2]
    assert told.notes == ["out of memory: batches are computed in 2 parts from here on"]
    assert (told.whole, told.rows) == ((9, 0), 9)
    assert np.array_equal(store.vectors, VALUES)


def test_a_resumed_pass_is_halved_likewise(tmp_path):
    store, told = opened(tmp_path), Told()
    passing(2, torch.OutOfMemoryError(), []).fill(store, [0], told)
    calls: list[int] = []
    again = opened(tmp_path)
    passing(9, torch.OutOfMemoryError(), calls).fill(again, again.pending, told)
    assert calls == [1, 1, 2, 1]
    assert told.whole == (9, 4)
    assert again.arrays.parts.tolist() == [2, 2, 2]


def test_one_row_that_does_not_fit_and_other_errors_are_told(tmp_path):
    store = opened(tmp_path)
    with pytest.raises(UserError, match=r"does not fit the memory \(seen: 100\)"):
        passing(0, torch.OutOfMemoryError(), []).fill(store, store.pending, Told())
    with pytest.raises(RuntimeError, match="shapes differ"):
        passing(0, RuntimeError("shapes differ"), []).fill(store, store.pending, Told())
    assert store.pending == [0, 1, 2]


def test_each_rank_computes_its_share_and_the_leader_gathers(tmp_path, monkeypatch):
    """Ranks one after the other; what a launch before left behind is gathered first."""
    monkeypatch.setattr(Ranks, "meet", lambda self: None)
    left = opened(tmp_path / "ranks" / "4")
    passing(9, MemoryError(), []).fill(left, [1], Told())
    follower, leader = Ranks(1, 2), Ranks(0, 2)
    calls: list[int] = []
    part = opened(tmp_path / "ranks" / "1")
    passing(9, MemoryError(), calls, follower).fill(part, [0, 2], Told())
    fill = passing(9, MemoryError(), [], leader).fill
    store = filled_by_ranks(
        leader, tmp_path, opened, lambda whole, pending: fill(whole, pending, Told())
    )
    assert calls == [3]
    assert store.pending == []
    assert not (tmp_path / "ranks").exists()
    assert np.array_equal(store.vectors, VALUES)


def test_a_launch_is_read_from_the_environment(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert (Ranks.of_launch().leads, Ranks.of_launch().size) == (True, 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="WORLD_SIZE is set, but not RANK, MASTER_ADDR"):
        Ranks.of_launch()


def launched(recipe: Path, run: Path) -> None:
    """The driver under torchrun, with two ranks."""
    command = [*TORCHRUN, str(DRIVER), str(recipe), f"output_dir={run}"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr


def assert_same_adapters(one: Path, other: Path, largest: float) -> None:
    names = {file.relative_to(one) for file in one.glob("steps/*/train/adapter/*.safetensors")}
    assert names
    for name in names:
        first, second = (load_file(run / name) for run in (one, other))
        assert first.keys() == second.keys()
        assert max(float((first[key] - second[key]).abs().max()) for key in first) < largest


@pytest.fixture(scope="module")
def sequence(recipe_dict: dict) -> dict:
    return recipe_dict | {
        "tasks": [{"dataset": "llava"}, {"dataset": "m3it"}],
        "featurize": {"dim": 64, "batch_tokens": 512, "max_rows": 20},
        "evaluate": {"benchmarks": ["caption"], "limit": 5, "batch_size": 2},
        "adapter": {"dropout": 0},
        "train": {"batch_size": 4},
    }


@pytest.fixture(scope="module")
def plain(sequence: dict, runner_of: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one rank."""
    run = tmp_path_factory.mktemp("plain") / "run"
    runner_of(sequence)(run)
    return run


def test_two_ranks_end_with_the_features_of_one_and_train_the_same(
    sequence: dict,
    plain: Path,
    runner_of: Callable,
    tmp_path: Path,
    contents: Callable[[Path], dict[str, str]],
) -> None:
    one, two = plain, tmp_path / "two"
    launched(runner_of(sequence).recipe, two)
    stages = ("ingest", "glance", "featurize", "select")
    before = [
        {
            name: digest
            for name, digest in contents(run).items()
            if name.startswith(tuple(f"steps/1-llava/{stage}/" for stage in stages))
        }
        for run in (one, two)
    ]
    assert len(before[0]) > 10
    assert before[0] == before[1]
    assert_same_adapters(one, two, 1e-6)
    answered = Path("steps", "0-base", "evaluate", "caption", "predictions.jsonl")
    assert (one / answered).read_bytes() == (two / answered).read_bytes()
    assert not list(two.rglob("*.partial*"))


@pytest.mark.parametrize("preset", [pytest.param("zero2", marks=pytest.mark.slow), "zero3"])
def test_two_ranks_with_zero_select_and_train_as_one_without(
    preset: str, plain: Path, sequence: dict, runner_of: Callable, tmp_path: Path
) -> None:
    """Rows of the second step, too: features that differ in their last digits choose the same here.

    A fifth of the rows of the first task are text only.
    """
    zero = tmp_path / preset
    train = sequence["train"] | {"deepspeed": preset}
    launched(runner_of(sequence | {"train": train}).recipe, zero)
    for step in ("1-llava", "2-m3it"):
        file = Path("steps", step, "select", "selection.parquet")
        rows = [pq.read_table(run / file, columns=["uid", "cluster"]) for run in (plain, zero)]
        assert rows[0].equals(rows[1])
    assert_same_adapters(plain, zero, 1e-5)
