"""SIGKILL at random moments, SIGTERM, and a second process: runs of the same bytes in the end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

STAGES = ("ingest", "overlap", "glance", "featurize", "select", "train", "evaluate", "prune")
RECORD = Path(__file__).parents[2] / "docs" / "kills.json"
RunnerOf = Callable[[dict], Callable]
Contents = Callable[[Path], dict[str, str]]


def bill_of(run: Path) -> list[dict]:
    return json.loads((run / "cost.json").read_text())["steps"]


def seconds_of(run: Path) -> dict[str, float]:
    """How long each stage of a finished run took, by ``STEP/STAGE`` in the order of the walk."""
    found = {}
    for number, step in enumerate(bill_of(run)):
        for stage in (stage for stage in STAGES if stage in step["stages"]):
            found[f"{number}/{stage}"] = step["stages"][stage]["seconds"]
    return found


def moments(seconds: dict[str, float], draw: random.Random) -> Iterator[str]:
    """For every stage in turn a moment within it, its end and what follows that included."""
    for where, length in seconds.items():
        yield f"{where}:{draw.uniform(0, 1.1 * length + 0.02):.4f}"


def killed_at(runner: Callable, run: Path, places: Sequence[str]) -> list[str]:
    """Those of the places at which the run was killed indeed; it may have been faster."""
    hit = []
    for place in places:
        code = runner(run, kill_after=place).returncode
        assert code in (0, -signal.SIGKILL), place
        hit += [place] if code else []
    return hit


@pytest.mark.slow
def test_killed_fifty_times_over_every_stage(
    recipe_dict: dict, runner_of: RunnerOf, tmp_path: Path, contents: Contents
) -> None:
    """Every stage in several runs; what came of it is kept for docs/reliability.md."""
    recipe = recipe_dict | {"featurize": {**recipe_dict["featurize"], "max_rows": 25}}
    runner, whole = runner_of(recipe), tmp_path / "whole"
    runner(whole)
    seconds, draw = seconds_of(whole), random.Random(50)
    assert {where.split("/")[1] for where in seconds} == set(STAGES)
    hit: list[str] = []
    runs = identical = 0
    while len(hit) < 50:
        runs += 1
        run = tmp_path / f"run-{runs}"
        hit += killed_at(runner, run, list(moments(seconds, draw)))
        runner(run)
        identical += contents(run) == contents(whole)
    by_stage = {s: sum(f"/{s}:" in place for place in hit) for s in STAGES}
    told = {"seed": 50, "kills": len(hit), "runs": runs, "identical": identical, "stages": by_stage}
    RECORD.write_text(json.dumps(told, indent=1) + "\n")
    assert identical == runs
    assert all(by_stage.values())


def test_given_notice_it_keeps_what_is_done_and_ends_with_the_same_bytes(
    recipe_dict: dict, runner_of: RunnerOf, undisturbed: Path, tmp_path: Path, contents: Contents
) -> None:
    run, runner = tmp_path / "run", runner_of(recipe_dict)
    assert runner(run, term="1/featurize:2").stdout == "interrupted\n"
    done = run / "steps/1-llava/featurize.tmp/done.npy"
    assert sum(done.read_bytes()[-4:]) >= 2
    # What it has cost so far is in the bill, though the stage is not finished.
    (spent,) = (s["stages"] for s in bill_of(run) if s["step"] == "1-llava")
    assert spent["featurize"]["rows"] == 0 < spent["featurize"]["cpu_seconds"]
    assert runner(run, term="1/train:2").stdout == "interrupted\n"
    # The second of six optimiser steps; a kill would have gone back to the beginning.
    scratch = run / "steps/1-llava/train.tmp/checkpoints"
    assert [folder.name for folder in scratch.iterdir()] == ["checkpoint-2"]
    assert (scratch / "checkpoint-2" / "sealed.json").is_file()
    runner(run)
    assert contents(run) == contents(undisturbed)


def started(recipe: Path, run: Path, *options: str) -> subprocess.Popen:
    """``run-lifelong`` on its way, once it is in a stage."""
    command = [str(Path(sys.executable).with_name("run-lifelong")), str(recipe), *options]
    process = subprocess.Popen(
        [*command, f"output_dir={run}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    events = run / "events.jsonl"
    while process.poll() is None and not (
        events.is_file() and "stage_started" in events.read_text()
    ):
        time.sleep(0.02)
    return process


def test_the_command_answers_a_notice_and_refuses_company(
    recipe_dict: dict, runner_of: RunnerOf, tmp_path: Path
) -> None:
    recipe, run = runner_of(recipe_dict).recipe, tmp_path / "run"
    first = started(recipe, run)
    os.kill(first.pid, signal.SIGSTOP)  # it is at work for as long as it is asked to be
    second = started(recipe, run)
    _, told = second.communicate()
    assert second.returncode == 2
    assert told == (
        f"{run}: another process is at work in this run folder;"
        " wait for it, or choose another output_dir\n"
    )
    os.kill(first.pid, signal.SIGTERM)
    os.kill(first.pid, signal.SIGCONT)
    _, told = first.communicate()
    assert first.returncode == 0
    assert told.splitlines()[-1] == "stopped; the same command goes on from here"
    assert "Traceback" not in told
