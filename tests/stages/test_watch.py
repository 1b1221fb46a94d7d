"""Signs of life of the ranks, and the end of a run that comes no further."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from adaptinf.distributed import Ranks
from stages import heartbeat
from stages.heartbeat import Beat, Pulse, read_beat, read_beats
from stages.watch import Seen, blamed
from stages.work import Counts, Silent, Work
from tests.conftest import DRIVER, ROOT, TORCHRUN
from tests.stages.test_passes import launched

Contents = Callable[[Path], dict[str, str]]


class Clock:
    """Times of a process that the test moves on."""

    def __init__(self) -> None:
        self.now = self.spent = 0.0

    def time(self) -> float:
        return 1000 + self.now

    def monotonic(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.spent


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(heartbeat, "time", clock)
    return clock


def work(shared: bool, rows: int | None = None) -> Work:
    folder = Path("steps", "1-x", "train")
    done = Counts(1, 1)
    return Work("1-x", "train", 1, {}, {}, folder, lambda *_: done, rows, shared)


def test_a_beat_says_how_far_the_work_is(clock: Clock, tmp_path: Path) -> None:
    pulse = Pulse(tmp_path, Ranks(1, 2))
    assert (pulse.beat().stage, pulse.beat().place) == (None, "between stages")
    clock.now = 10.0
    progress = pulse.begin(work(shared=True), Silent())
    progress.total(100, 20)
    progress.advance(8)
    progress.advance(8)
    clock.now = 14.0
    beat = pulse.beat()
    assert beat.place == "1-x/train, batch 2, 36 of 100 rows"
    assert (beat.begun, beat.moved, beat.rank, beat.size) == (1010.0, 1014.0, 1, 2)
    assert (beat.rate, beat.seconds_left) == (16 / 4, 64 / 4)
    clock.now = 50.0
    later = pulse.beat()
    assert (later.moves, later.moved, later.time) == (beat.moves, 1014.0, 1050.0)
    assert later.number == beat.number + 1
    pulse.write(later)
    assert read_beat(tmp_path, 1) == later
    pulse.finish()
    assert read_beat(tmp_path, 1).ended
    assert [file.name for file in (tmp_path / "ranks").iterdir()] == ["1.json"]


def test_only_the_latest_launch_is_read_and_nothing_broken(tmp_path: Path) -> None:
    for rank, size in ((0, 2), (1, 2), (2, 3)):
        pulse = Pulse(tmp_path, Ranks(rank, size))
        pulse.write(pulse.beat())
    assert [beat.rank for beat in read_beats(tmp_path)] == [0, 1]
    (tmp_path / "ranks" / "1.json").write_text('{"rank": 1')
    assert [beat.rank for beat in read_beats(tmp_path)] == [0]
    assert read_beats(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("shared", "size", "accelerated", "moves"),
    [
        (False, 2, True, True),
        (True, 1, False, True),
        (True, 1, True, False),
        (True, 2, False, False),
    ],
)
def test_time_of_the_processor_is_progress_of_one_that_computes_by_itself(
    clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shared: bool,
    size: int,
    accelerated: bool,
    moves: bool,
) -> None:
    """Who waits for another rank, or for an accelerator, spins, and that is no progress."""
    monkeypatch.setattr(heartbeat, "_is_accelerated", lambda: accelerated)
    pulse = Pulse(tmp_path, Ranks(0, size))
    pulse.begin(work(shared), Silent())
    first = pulse.beat()
    clock.now, clock.spent = 10.0, 9.0
    second = pulse.beat()
    assert (second.moves > first.moves) is moves
    clock.now, clock.spent = 20.0, 9.5  # a twentieth of a processor: that is the beat itself
    assert pulse.beat().moves == second.moves


def test_passing_a_meeting_point_is_progress_and_waiting_is_told(
    clock: Clock, tmp_path: Path
) -> None:
    ranks = Ranks()
    pulse = Pulse(tmp_path, ranks)
    before = pulse.beat()
    ranks.move()
    assert pulse.beat().moves == before.moves + 1
    ranks.waits = True
    assert pulse.beat().waits


BEAT = Beat(
    rank=0,
    size=2,
    host="h",
    pid=7,
    born="1",
    number=1,
    time=0.0,
    moves=5,
    moved=0.0,
    waits=False,
    ended=False,
    stage="1-x/train",
    begun=0.0,
    batch=3,
    rows=12,
    earlier=0,
    rows_total=40,
)


def seen(*changes: dict, every: float = 1.0) -> Seen:
    """A rank whose file said these, one after the other; None of a change: it said nothing new."""
    one, beat = Seen(), BEAT
    for number, change in enumerate(({"number": 0}, *changes)):
        beat = dataclasses.replace(beat, **{"number": number, **change})
        one.look(beat, every)
    return one


MUTE = {"number": 1}


def test_a_rank_stalls_by_silence_and_by_standing_still() -> None:
    beats_on = seen({}, {}, {}, {})
    assert (beats_on.silent, beats_on.idle) == (0.0, 4.0)
    assert beats_on.has_stalled(4) and not beats_on.has_stalled(5)
    moves = seen({}, {}, {"moves": 6}, {})
    assert (moves.silent, moves.idle) == (0.0, 1.0)
    mute = seen({}, MUTE, MUTE, MUTE)
    assert mute.silent == 3.0 and mute.has_stalled(3)


def test_who_waits_or_is_between_stages_or_has_ended_stands_still_by_right() -> None:
    for right in ({"waits": True}, {"stage": None}):
        assert not seen(right, right, right).has_stalled(2)
        mute = {**right, **MUTE}
        assert seen(mute, mute, mute, mute).has_stalled(3)
    gone = {"ended": True, **MUTE}
    assert not seen(gone, gone, gone, gone).has_stalled(2)


def test_what_an_earlier_launch_has_left_never_stalls() -> None:
    left = Seen()
    for _ in range(9):
        left.look(BEAT, 1.0)
    assert not left.has_stalled(2)
    assert left.silent == 8.0
    left.look(dataclasses.replace(BEAT, pid=8), 1.0)
    assert (left.silent, left.idle) == (0.0, 0.0)
    left.look(dataclasses.replace(BEAT, pid=8, number=2), 1.0)
    left.look(dataclasses.replace(BEAT, pid=8, number=2), 2.0)
    assert (left.silent, left.idle, left.has_stalled(3)) == (2.0, 3.0, True)


def test_of_ranks_that_stand_the_one_is_named_for_which_the_others_wait() -> None:
    assert blamed({0: seen({}), 1: seen({})}, 2) is None
    waits = {"waits": True}
    stopped = seen({}, MUTE, MUTE, MUTE)
    stands = seen({}, {}, {}, {})
    assert blamed({0: stands, 1: stopped}, 3)[0] == 1
    assert blamed({0: seen(waits, waits, waits, waits), 1: stands}, 3)[0] == 1
    behind = seen({"batch": 2}, {"batch": 2}, {"batch": 2}, {"batch": 2})
    assert blamed({0: stands, 1: behind, 2: stands}, 3)[0] == 1


def torchrun(recipe: Path, run: Path, *options: str) -> subprocess.CompletedProcess:
    command = [*TORCHRUN, str(DRIVER), str(recipe), *options, f"output_dir={run}"]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=300
    )


@pytest.fixture(scope="module")
def two_ranks(recipe_dict: dict) -> dict:
    return recipe_dict | {
        "tasks": [{"dataset": "llava"}],
        "evaluate": {"benchmarks": ["caption"], "limit": 5, "batch_size": 2},
    }


@pytest.fixture(scope="module")
def launched_undisturbed(
    two_ranks: dict, runner_of: Callable, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished run of two ranks."""
    run = tmp_path_factory.mktemp("launched") / "run"
    launched(runner_of(two_ranks).recipe, run)
    return run


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_stopped_rank_ends_the_run_which_then_goes_on(
    two_ranks: dict,
    runner_of: Callable,
    launched_undisturbed: Path,
    tmp_path: Path,
    contents: Contents,
    rank: int,
) -> None:
    told, run = tmp_path / "told", tmp_path / "run"
    recipe = two_ranks | {
        "watch": {"stall_after": 4},
        "on_failure": f'echo "$ADAPTINF_STATUS $ADAPTINF_MESSAGE" >> {told}',
    }
    file = runner_of(recipe).recipe
    where = "1-llava/featurize:2" if rank else "1-llava/train:3"
    stopped = torchrun(file, run, "--freeze", f"{rank}@{where}")
    assert stopped.returncode != 0
    stage = where.split(":")[0]
    [line] = [line for line in stopped.stderr.splitlines() if "stalled: " in line]
    assert f"stalled: rank {rank} of 2 (process " in line
    assert "gave no sign of life for" in line and f": {stage}, batch " in line
    assert "exitcode  : 3" in stopped.stderr
    [message] = told.read_text().splitlines()
    assert message.startswith(f"3 stalled: rank {rank} of 2")
    event = json.loads((run / "events.jsonl").read_text().splitlines()[-1])
    assert (event["kind"], event["rank"], event["stage"]) == ("stalled", rank, stage)
    # Patience for that is not the matter here, and a busy machine may need more of it.
    launched(runner_of(two_ranks).recipe, run)
    assert contents(run) == contents(launched_undisturbed)


def test_a_process_that_hangs_ends_itself_and_says_where(
    recipe_dict: dict, runner_of: Callable, undisturbed: Path, tmp_path: Path, contents: Contents
) -> None:
    run, runner = tmp_path / "run", runner_of(recipe_dict | {"watch": {"stall_after": 4}})
    command = [sys.executable, str(DRIVER), str(runner.recipe), "--hang", "0@1-llava/train:3"]
    done = subprocess.run(
        [*command, f"output_dir={run}"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 3
    assert "stalled: rank 0 of 1 (process" in done.stderr
    assert "came no further for" in done.stderr and ": 1-llava/train, batch " in done.stderr
    runner(run)
    assert contents(run) == contents(undisturbed)
