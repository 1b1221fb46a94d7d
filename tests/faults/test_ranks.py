"""Several ranks: notice to their launcher, an error of one of them, and who is heard of it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from adaptinf.distributed import Ranks
from adaptinf.notice import Interrupted
from tests.conftest import DRIVER, ROOT, TORCHRUN

RunnerOf = Callable[[dict], Callable]
Contents = Callable[[Path], dict[str, str]]
TOKEN = "hf_0123456789secret"


def launch(recipe: Path, run: Path, *options: str) -> subprocess.CompletedProcess:
    """The driver as two ranks."""
    command = [*TORCHRUN, str(DRIVER), str(recipe), *options, f"output_dir={run}"]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"HF_TOKEN": TOKEN},
        check=False,
    )


@pytest.fixture(scope="module")
def two(recipe_dict: dict) -> dict:
    return recipe_dict | {
        "tasks": [{"dataset": "llava"}],
        "featurize": {"dim": 64, "batch_tokens": 128},
        "evaluate": {"benchmarks": ["caption"], "batch_size": 1},
    }


@pytest.mark.slow
def test_notice_to_the_launcher_ends_all_ranks_and_loses_nothing(
    two: dict, runner_of: RunnerOf, tmp_path: Path, contents: Contents
) -> None:
    recipe, run, whole = runner_of(two).recipe, tmp_path / "run", tmp_path / "whole"
    step = run / "steps/1-llava"
    for where in ("1/featurize:2", "1/select:1", "1/train:2", "1/evaluate:2"):
        stopped = launch(recipe, run, "--term-launch", where)
        # torchrun's own word; the ranks end with 0.
        assert "got signal: 15" in stopped.stderr
        assert stopped.stdout in ("interrupted\n", ""), where
        logs = [(run / f"logs/rank-{rank}.log").read_text().splitlines() for rank in (0, 1)]
        assert all(log[-1].endswith("stopped by notice") for log in logs), logs
        if where == "1/featurize:2":
            assert (step / "featurize.tmp/ranks/1").is_dir()
        if where == "1/train:2":
            # Four steps of six at most: each rank has heard of it when both have.
            [folder] = (step / "train.tmp/checkpoints").iterdir()
            assert folder.name in {f"checkpoint-{number}" for number in range(2, 5)}
            assert (folder / "sealed.json").is_file()
        if where == "1/evaluate:2":
            answered = step / "evaluate/caption.tmp"
            assert (answered / "answers.partial.1.jsonl").read_text()
    assert launch(recipe, run).returncode == 0
    assert launch(recipe, whole).returncode == 0
    assert contents(run) == contents(whole)


@pytest.mark.slow
def test_an_error_of_another_rank_is_in_its_log_and_told_in_a_line(
    two: dict, runner_of: RunnerOf, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    failed = launch(runner_of(two).recipe, run, "--fail", "1@0-base/evaluate/caption:2")
    assert failed.returncode != 0
    told = [line for line in failed.stderr.splitlines() if line.startswith("rank 1: ")]
    log = run / "logs/rank-1.log"
    assert told == [f"rank 1: RuntimeError: no luck with <HF_TOKEN> (see {log})"]
    written = log.read_text()
    assert "Traceback (most recent call last)" in written
    assert "begin 0-base/evaluate/caption" in written
    assert "RuntimeError: no luck with <HF_TOKEN>" in written
    assert "UserWarning: an odd thing" in written
    assert "said aside" in written and "said aside" not in failed.stdout + failed.stderr
    assert "an odd thing" not in failed.stderr
    for file in (file for file in run.rglob("*") if file.is_file()):
        assert TOKEN.encode() not in file.read_bytes(), file
    assert "rank 0 of 2" in (run / "logs/rank-0.log").read_text()


def test_who_waits_for_a_rank_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.distributed import TCPStore

    keeper = TCPStore("127.0.0.1", 0, 2, True, wait_for_workers=False)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(keeper.port))
    leader, other = Ranks(0, 2), Ranks(1, 2)

    def meets() -> None:
        for _ in range(2):
            other.meet()

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(meets)
        with pytest.raises(ValueError, match="gone"), leader.stopping_together():
            leader.meet()
            raise ValueError("gone")
        with pytest.raises(Interrupted):
            waiting.result(timeout=60)
    assert other.moves == 1
