"""How far a run is, from its files alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adaptinf.distributed import Ranks
from adaptinf.errors import UserError
from stages.heartbeat import Pulse, read_beat
from stages.lock import is_locked, locked
from stages.seals import seal_results
from stages.status import run_status
from stages.work import Silent
from tests.stages.test_cli import call
from tests.stages.test_watch import Clock, clock, work  # noqa: F401, a fixture


def test_a_finished_run(undisturbed: Path) -> None:
    status = run_status(undisturbed)
    assert (status.locked, status.stage, status.left, status.last_error) == (False, *3 * [None])
    done = len(list(undisturbed.rglob("DONE")))
    assert status.stages_done == done > 20
    own = [f for f in undisturbed.rglob("*") if f.is_file()]
    assert status.disk_used == sum(f.stat().st_size for f in own)
    assert 0 < status.disk_free <= shutil.disk_usage(undisturbed).total
    assert [(beat.rank, beat.ended) for beat in status.beats] == [(0, True)]


def log(run: Path, *events: dict) -> None:
    run.mkdir(exist_ok=True)
    with (run / "events.jsonl").open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


def test_a_run_at_work(tmp_path: Path, clock: Clock) -> None:  # noqa: F811
    run = tmp_path / "run"
    then = (datetime.now(UTC) - timedelta(seconds=100)).isoformat()
    log(run, {"kind": "run_started"}, {"kind": "progress", "time": then, "run_left": 700.0})
    with (run / "events.jsonl").open("a") as file:
        file.write('{"kind": "progress", "run_l')
    pulse = Pulse(run, Ranks())
    progress = pulse.begin(work(shared=True), Silent())
    progress.total(1000, 100)
    clock.now = 30.0
    progress.advance(60)
    pulse.write(pulse.beat())
    with locked(run):
        status = run_status(run)
    assert status.state == "at work"
    assert (status.stage, status.rows, status.rows_total) == ("1-x/train", 160, 1000)
    assert (status.rate, status.stage_left) == (60 / 30, 840 / 2)
    assert 590 < status.left <= 600
    lines = status.text().splitlines()
    assert lines[0].endswith("at work, 0 stages done")
    assert lines[1] == "1-x/train | 160/1,000 rows | 2 rows/s | stage 7 min 0 s left"
    told = json.loads(status.json())
    assert told["ranks"][0]["batch"] == 1 and told["rate"] == 2.0


def test_a_killed_and_a_failed_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    log(run, {"kind": "run_started"})
    pulse = Pulse(run, Ranks())
    pulse.begin(work(shared=True, rows=9), Silent())
    pulse.write(pulse.beat())
    killed = run_status(run)
    assert (killed.state, killed.stage, killed.rate) == ("stopped", "1-x/train", None)
    log(run, {"kind": "run_failed", "time": "2026-01-02T03:04:05", "error": "no room"})
    failed = run_status(run)
    assert (failed.state, failed.last_error) == ("failed", "no room")
    assert failed.text().splitlines()[-1] == "last error, 2026-01-02T03:04:05: no room"
    log(run, {"kind": "run_started"})
    assert run_status(run).state == "stopped"
    seal_results(run)
    assert run_status(run).state == "finished"


def test_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run here"):
        run_status(tmp_path)


def test_who_asks_leaves_the_lock_as_it_is(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    with locked(tmp_path):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_the_command_imports_nothing_heavy(undisturbed: Path) -> None:
    code = (
        "import sys, stages.status as s; from pathlib import Path;"
        f"print(s.run_status(Path({str(undisturbed)!r})).state); print(*sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    state, loaded = done.stdout.splitlines()
    assert state == "finished"
    heavy = {"torch", "numpy", "transformers", "pyarrow", "faiss", "jinja2", "pydantic", "rich"}
    assert not set(loaded.split()) & heavy
    told = json.loads(call("adaptinf", "status", str(undisturbed), "--json").stdout)
    assert (told["state"], told["locked"], len(told["ranks"])) == ("finished", False, 1)


def test_an_error_is_recorded_and_told_to_the_command_once(
    recipe_dict: dict, runner_of: Callable, undisturbed: Path, tmp_path: Path
) -> None:
    run, told = tmp_path / "run", tmp_path / "told"
    shutil.copytree(undisturbed, run)
    command = f'echo "$ADAPTINF_STATUS|$ADAPTINF_RUN|$ADAPTINF_MESSAGE" >> {told}; exit 5'
    recipe = runner_of(recipe_dict | {"on_failure": command}).recipe
    changed = ("run-lifelong", str(recipe), f"output_dir={run}", "train.epochs=3")
    for times in (1, 2):
        done = call(*changed)
        assert done.returncode == 2
        lines = done.stderr.splitlines()
        assert "on_failure ended with 5" in lines
        assert "epochs was 2.0, is 3.0" in lines[-1]
        [*_, line] = found = told.read_text().splitlines()
        assert len(found) == times
        assert line == f"2|{run}|{lines[-1]}"
    status = run_status(run)
    assert (status.state, status.last_error) == ("failed", lines[-1])
    assert read_beat(run, 0).ended


def test_a_command_that_fails_or_is_slow_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    from stages import failure

    monkeypatch.setattr(failure, "_SECONDS", 0.1)
    failure.tell_failure("sleep 60", tmp_path, "told", 1)
    assert "timed out" in capfd.readouterr().err
    failure.tell_failure("exit 1", tmp_path, "of this launch nobody is told again", 1)
    assert capfd.readouterr().err == ""
    failure.forget_failures(tmp_path)
    failure.tell_failure("no-such-command-here", tmp_path, "nul \0 nul", 1)
    assert "on_failure ended with 127" in capfd.readouterr().err
