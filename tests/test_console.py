from __future__ import annotations

import io
import json
import math
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import rich.console
from hypothesis import given
from hypothesis import strategies as st

from adaptinf.console import (
    count_text,
    duration_text,
    make_console,
    quiet_libraries,
    rate_text,
    table,
)
from adaptinf.console.live import LiveDisplay
from adaptinf.console.walk import Console


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("RANK", "NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def console(stream, tmp_path, clock):
    return make_console(tmp_path / "run" / "events.jsonl", stream, clock=clock)


def events(tmp_path):
    lines = (tmp_path / "run" / "events.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=pytest.fail) for line in lines]


def m3it(console, stage="featurize", **more):
    return console.stage(task="m3it", index=2, total=5, stage=stage, **more)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "<1 s"),
        (4.4, "4 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (80, "1 min 20 s"),
        (3599.7, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (86_380, "1 d 0 h"),
        (97_200, "1 d 3 h"),
    ],
)
def test_duration(seconds, text):
    assert duration_text(seconds) == text


@given(st.floats(0, 1e9))
def test_duration_is_never_further_off_than_half_its_smaller_unit(seconds):
    units = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
    found = re.findall(r"(\d+) (s|min|h|d)", duration_text(seconds))
    worth = sum(int(number) * units[unit] for number, unit in found)
    smallest = units[found[-1][1]]
    assert abs(worth - seconds) <= (smallest if seconds < 1 else smallest / 2)


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (412.3, "412 rows/s"),
        (12_345, "12,345 rows/s"),
        (9.96, "10 rows/s"),
        (3.14, "3.1 rows/s"),
        (0.0341, "0.034 rows/s"),
    ],
)
def test_rate(rate, text):
    assert rate_text(rate) == text


def test_count():
    assert [count_text(n) for n in (0, 999, 1280, 1_234_567)] == ["0", "999", "1,280", "1,234,567"]


def test_a_line_every_ten_seconds_and_one_at_the_end(console, stream, clock):
    # One unit took 20 s before this stage; 1,280 of 3,000 rows at 128 a second are 0.427 units in
    # 10 s. Left are 3.573 units; 1.427 units took 30 s: 75 s more.
    console.run_started(total_units=7, done_units=2)
    with m3it(console, "ingest"):
        clock.now += 20
    with m3it(console) as stage:
        stage.total(3000)
        for _ in range(10):
            clock.now += 1
            stage.advance(128)
        clock.now += 5
        stage.advance(1720)
    assert stream.getvalue().splitlines() == [
        "task 2/5 m3it | ingest | took 20 s | run 1 min 20 s left",
        "task 2/5 m3it | featurize | 1,280/3,000 rows | 128 rows/s | stage 13 s | run 1 min 15 s"
        " left",
        "task 2/5 m3it | featurize | 3,000 rows | 200 rows/s | took 15 s | run 52 s left",
    ]


def test_line_without_a_run_or_a_total(console, stream, clock):
    with m3it(console, "train") as stage:
        clock.now += 10
        stage.note("loss 0.41")
        clock.now += 10
        stage.advance(50)
        clock.now += 10
        stage.total(100)
    assert stream.getvalue().splitlines() == [
        "task 2/5 m3it | train | loss 0.41",
        "task 2/5 m3it | train | 50 rows | 2.5 rows/s | loss 0.41",
        "task 2/5 m3it | train | 50/100 rows | 1.7 rows/s | loss 0.41 | stage 30 s left",
        "task 2/5 m3it | train | 50/100 rows | 1.7 rows/s | loss 0.41 | took 30 s",
    ]


def test_rows_of_an_interrupted_run_count_as_done_but_not_as_fast(console, stream, clock):
    console.run_started(total_units=2)
    with m3it(console) as stage:
        stage.total(1000, done=800)
        clock.now += 10
        stage.advance(100)
    # 0.1 units took 10 s: 1.1 units are left in the stage, 1 after it.
    assert stream.getvalue().splitlines() == [
        "task 2/5 m3it | featurize | 900/1,000 rows | 10 rows/s | stage 10 s | run 1 min 50 s left",
        "task 2/5 m3it | featurize | 900/1,000 rows | 10 rows/s | took 10 s | run 1 min 40 s left",
    ]


def test_units_weigh_stages(console, stream, clock):
    console.run_started(total_units=10)
    with m3it(console, "train", units=4):
        clock.now += 8
    assert stream.getvalue() == "task 2/5 m3it | train | took 8 s | run 12 s left\n"


def test_nothing_is_left_after_the_last_stage(console, stream, clock):
    console.run_started(total_units=1)
    with m3it(console, "report"):
        clock.now += 0.5
    assert stream.getvalue() == "task 2/5 m3it | report | took <1 s\n"


def test_a_stage_that_fails_says_so_and_lets_the_error_through(console, stream, clock, tmp_path):
    with pytest.raises(KeyboardInterrupt), m3it(console):
        clock.now += 3
        raise KeyboardInterrupt
    assert stream.getvalue() == "task 2/5 m3it | featurize | stopped after 3 s\n"
    last = events(tmp_path)[-1]
    assert (last["kind"], last["error"], last["seconds"]) == (
        "stage_failed",
        "KeyboardInterrupt",
        3,
    )


def test_plain_output_has_no_control_characters(console, stream, clock):
    console.line("one\x1b[31m\ttwo\r\nthree\x07\x7f\x9b")
    with m3it(console) as stage:
        clock.now += 10
        stage.note("a\x1b[2Kb\rc")
    written = stream.getvalue()
    assert written.splitlines()[:2] == ["one [31m two ", "three   "]
    assert "a [2Kb c" in written
    assert all(mark.isprintable() for mark in written.replace("\n", ""))


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_color_and_dumb_terminals_are_plain(stream, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with m3it(make_console(None, stream, tty=True)) as stage:
        stage.advance(1)
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().startswith("task 2/5 m3it | featurize | 1 rows")


def test_terminal_gets_a_live_line(stream):
    with m3it(make_console(None, stream, tty=True)):
        pass
    assert "\x1b" in stream.getvalue()


def test_live_line_moves_and_is_replaced_by_a_plain_one(stream, clock):
    screen = rich.console.Console(file=stream, force_terminal=True, width=100)
    console = Console(LiveDisplay(screen), None, clock)

    def shown():
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
        stream.seek(0)
        stream.truncate()
        return [part for line in text.split("\n") for part in line.split("\r") if part.strip()]

    with m3it(console) as stage:
        assert shown() == ["task 2/5 m3it | featurize"]
        stage.total(3000)
        assert shown() == []
        clock.now += 3
        stage.advance(1280)
        (drawn,) = shown()
        assert "task 2/5 m3it | featurize | 1,280/3,000 rows | 427 rows/s | stage 4 s left" in drawn
        console.line("beside [bold]it[/bold]")
        assert shown()[0] == "beside [bold]it[/bold]"
    left = "task 2/5 m3it | featurize | 1,280/3,000 rows | 427 rows/s | took 3 s"
    assert stream.getvalue().endswith(f"\x1b[?25h\r\x1b[1A\x1b[2K{left}\n")
    assert shown()[-1] == left


@pytest.mark.parametrize(("width", "bar"), [(81, True), (80, False)])
def test_bar_is_left_out_where_it_would_cost_text(stream, clock, width, bar):
    screen = rich.console.Console(file=stream, force_terminal=True, width=width)
    with m3it(Console(LiveDisplay(screen), None, clock)) as stage:
        stage.total(30)
        clock.now += 2
        stage.advance(3)
        drawn = stream.getvalue()
    line = "task 2/5 m3it | featurize | 3/30 rows | 1.5 rows/s | stage 18 s left"
    assert len(line) == 68
    assert re.sub(r"\x1b\[[0-9;?]*m", "", drawn).count(line) == 1
    assert ("\u2501" in drawn) == bar


def test_other_ranks_are_silent(stream, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    console = make_console(tmp_path / "events.jsonl", stream, tty=True)
    console.run_started(1)
    with m3it(console) as stage:
        stage.advance(5)
    console.line("text")
    assert stream.getvalue() == ""
    assert list(tmp_path.iterdir()) == []


def test_events(console, clock, tmp_path):
    before = datetime.now(UTC)
    console.run_started(total_units=5, done_units=1)
    with m3it(console) as stage:
        stage.total(20)
        clock.now += 9
        stage.advance(1)
        clock.now += 2
        stage.advance(9)
        stage.advance(10)
    told = events(tmp_path)
    where = {"task": "m3it", "index": 2, "total": 5, "stage": "featurize"}
    times = [datetime.fromisoformat(event.pop("time")) for event in told]
    # Of four units half of one took 11 s, and later one: three and a half, and three, are left.
    assert told == [
        {"kind": "run_started", "total_units": 5, "done_units": 1},
        {"kind": "stage_started", **where},
        {"kind": "progress", **where, "rows": 10, "rows_total": 20, "run_left": 77.0},
        {"kind": "stage_finished", **where, "seconds": 11.0, "rows": 20, "run_left": 33.0},
    ]
    assert times == sorted(times)
    assert all(t.utcoffset().total_seconds() == 0 for t in times)
    assert abs((times[0] - before).total_seconds()) < 60


def test_events_are_on_disk_line_by_line_and_added_to(console, stream, tmp_path):
    console.event("one", path=Path("a/b"), loss=math.nan, nested={"x": [math.inf, 1.5]})
    assert len(events(tmp_path)) == 1
    make_console(tmp_path / "run" / "events.jsonl", stream).event("two", text="line\nbreak é")
    first, second = events(tmp_path)
    assert (first["path"], first["loss"], first["nested"]) == ("a/b", "nan", {"x": ["inf", 1.5]})
    assert (second["kind"], second["text"]) == ("two", "line\nbreak é")


def test_table_aligns_numbers_right_and_text_left():
    rows = [["counting", "81.5", "-3.2"], ["ocr", "100.0", "-"]]
    assert table(rows, ["benchmark", "base", "change"]).splitlines() == [
        "benchmark   base  change",
        "---------  -----  ------",
        "counting    81.5    -3.2",
        "ocr        100.0       -",
    ]


def test_table_breaks_names_then_cuts_text_to_fit():
    rows = [["a benchmark with a long name", "81.5"]]
    # 12 + 2 + 8 characters: the text is cut to its floor, the name of the number broken over two.
    assert table(rows, ["benchmark", "base model"], width=22).splitlines() == [
        "                  base",
        "benchmark        model",
        "------------  --------",
        "a benchmar..      81.5",
    ]


def test_table_of_too_many_columns_goes_on_below():
    rows = [["llava", *(f"{n}.0" for n in range(10, 22))]]
    header = ["step", *(f"column{n:02}" for n in range(12))]
    text = table(rows, header, width=50)
    blocks = text.split("\n\n")
    assert [block.split("\n")[0].split() for block in blocks] == [
        ["step", "column00", "column01", "column02", "column03"],
        ["step", "column04", "column05", "column06", "column07"],
        ["step", "column08", "column09", "column10", "column11"],
    ]
    assert max(map(len, text.splitlines())) <= 50


def test_table_refuses_ragged_rows():
    with pytest.raises(ValueError):
        table([["a"]], ["x", "y"])


@given(st.data())
def test_table_fits_and_keeps_every_number(data):
    count = data.draw(st.integers(1, 20))
    names = data.draw(st.lists(st.text("abcdef_- ", max_size=30), min_size=count, max_size=count))
    cell = st.floats(-1e6, 1e6).map(lambda x: f"{x:+.8f}")
    row = st.lists(cell, min_size=count, max_size=count)
    rows = [["a" * 40, *numbers] for numbers in data.draw(st.lists(row, min_size=1, max_size=4))]
    text = table(rows, ["benchmark", *names], width=100)
    assert max(map(len, text.splitlines())) <= 100
    for numbers in rows:
        for number in numbers[1:]:
            assert number in text.split()


def test_import_needs_no_rich():
    code = (
        "import sys; from adaptinf.console import make_console; make_console(None).line('x')\n"
        "print(sorted({'rich', 'torch', 'transformers', 'tqdm', 'numpy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("[]\n", "x\n")


def test_quiet_libraries_sets_the_environment_but_not_over_the_user(monkeypatch):
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS", raising=False)
    monkeypatch.delenv("HF_DATASETS_DISABLE_PROGRESS_BARS", raising=False)
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "info")
    for name in ("huggingface_hub.utils", "datasets", "transformers.utils.logging"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    quiet_libraries()
    assert os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] == "1"
    assert os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] == "1"
    assert os.environ["TRANSFORMERS_VERBOSITY"] == "info"


def test_quiet_libraries_reaches_those_already_imported():
    code = (
        "import os\n"
        "for name in ('HF_HUB_DISABLE_PROGRESS_BARS', 'TRANSFORMERS_VERBOSITY'):\n"
        "    os.environ.pop(name, None)\n"
        "from transformers.utils import logging\n"
        "from huggingface_hub.utils import are_progress_bars_disabled\n"
        "from adaptinf.console import quiet_libraries\n"
        "print(logging.is_progress_bar_enabled(), are_progress_bars_disabled())\n"
        "quiet_libraries()\n"
        "print(logging.is_progress_bar_enabled(), are_progress_bars_disabled(),"
        " logging.get_verbosity() == logging.ERROR)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["True False", "False True True"]
