"""A disk that takes no more: one line, nothing half made, and the same command goes on."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from adaptinf.disk import full_disk, needs_room
from adaptinf.errors import UserError
from adaptinf.features import shards
from adaptinf.files import write_atomically

COMMAND = str(Path(sys.executable).with_name("run-lifelong"))
RunnerOf = Callable[[dict], Callable]
Contents = Callable[[Path], dict[str, str]]


def limit_files() -> None:
    """In a child process: no file may grow beyond what all of a run but a checkpoint needs."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))


def test_run_tells_it_in_a_line_and_goes_on(
    recipe_dict: dict, runner_of: RunnerOf, undisturbed: Path, tmp_path: Path, contents: Contents
) -> None:
    run, runner = tmp_path / "run", runner_of(recipe_dict)
    done = subprocess.run(
        [COMMAND, str(runner.recipe), f"output_dir={run}"],
        capture_output=True,
        text=True,
        preexec_fn=limit_files,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"{run}/steps/1-llava/train.tmp: the disk takes no more (seen: 'Error while serializing:"
        " I/O error: File too large (os error 27)'); make room; the same command goes on from here"
    )
    assert "Traceback" not in done.stderr
    assert not list(run.rglob("*.draft"))
    runner(run)
    assert contents(run) == contents(undisturbed)


@pytest.fixture
def little_room() -> Iterator[None]:
    """No file may grow beyond 4 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    "write",
    [
        lambda file: file.write_bytes(bytes(100_000)),
        lambda file: pq.write_table(pa.table({"a": range(10_000)}), file),
        lambda file: torch.save({"a": torch.zeros(10_000)}, file),
        lambda file: save_file({"a": torch.zeros(10_000)}, file),
        lambda file: np.save(file, np.zeros(10_000)),
    ],
    ids=["python", "parquet", "torch", "safetensors", "numpy"],
)
def test_every_library_is_understood(
    write: Callable[[Path], object], tmp_path: Path, little_room: None
) -> None:
    with pytest.raises(UserError, match="the disk takes no more"), needs_room(tmp_path):
        write(tmp_path / "file")


def test_other_errors_are_none_of_it() -> None:
    assert full_disk(OSError(errno.EACCES, "Permission denied")) is None
    assert full_disk(ValueError("no")) is None


def test_a_file_that_cannot_be_written_whole_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "matrix.json"
    write_atomically(file, "old")

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(file, "new")
    assert [f.name for f in tmp_path.iterdir()] == ["matrix.json"]
    assert file.read_text() == "old"


def test_features_have_their_room_before_the_first_is_computed(tmp_path: Path) -> None:
    shards.Shards.create(tmp_path, "gradients", 1000, 64, 600)
    # A file with holes has fewer blocks (of 512 bytes) than its length.
    for file in tmp_path.iterdir():
        assert file.stat().st_blocks * 512 >= file.stat().st_size
