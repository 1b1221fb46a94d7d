"""What a step is expected to cost, told between selection and training."""

from __future__ import annotations

import json
import shutil
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from adaptinf.console import make_console
from adaptinf.evaluation.drops import Expected, Standing
from config import load_recipe
from stages import outlook
from stages.manager import open_context, run_lifelong
from stages.outlook import coming_outlook
from stages.walk import plan_walk


def test_it_is_told_by_a_dry_run_and_before_the_step_trains(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlook, "LARGE", -1000.0)
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    recipe = load_recipe(run / "config.resolved.yaml", [f"output_dir={run}"])

    def coming() -> str:
        context = open_context(recipe)
        return coming_outlook(context, plan_walk(context))

    assert coming() == ""
    shutil.rmtree(run / "steps" / "2-mantis" / "train")
    assert coming().startswith("2-mantis is likely to cost")
    stream = StringIO()
    run_lifelong(recipe, make_console(run / "events.jsonl", stream))
    assert "2-mantis is likely to cost" in stream.getvalue()
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    kinds = [(event["kind"], event.get("stage")) for event in events]
    told = kinds.index(("outlook", None))
    assert ("stage_started", "train") not in kinds[:told]
    assert ("stage_started", "train") in kinds[told:]
    [drop] = events[told]["drops"]  # the other benchmark is taught by the step itself
    chosen = pq.read_table(run / "steps" / "2-mantis" / "select" / "selection.parquet")
    uids = chosen["uid"].to_pylist()
    assert drop["standing"] == {
        "benchmark": "caption",
        "level": json.loads((run / "matrix.json").read_text())["scores"][1][0],
        "rows": sum(uid.startswith("llava:") for uid in uids),
        "selected": len(uids),
    }
    shutil.rmtree(run / "steps" / "2-mantis" / "train")
    shutil.rmtree(run / "steps" / "2-mantis" / "select")
    assert coming() == ""


def test_large_drops_are_told_the_largest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    drops = [
        Expected(Standing("colour", 81.5, 0, 280), 94.1, 123),
        Expected(Standing("count", 90.0, 3, 280), 13.8, 50),
        Expected(Standing("shape", 50.0, 90, 280), -4.9, 206),
        Expected(Standing("more", 61.0, 0, 280), 68.8, 58),
    ]
    step = SimpleNamespace(name="5-x")
    assert outlook._told(step, drops).splitlines() == [
        "5-x is likely to cost, as such skills lost in the study (docs/expected_drops.md):",
        "  benchmark  now, %  its rows  points",
        "  ---------  ------  --------  ------",
        "  colour         82  0 of 280      94",
        "  more           61  0 of 280      69",
        "  count          90  3 of 280      14",
        "select.skill_floor, select.old or select.floors keep rows of old skills;"
        " rehearse.rows needs none",
    ]
    monkeypatch.setattr(outlook, "_LISTED", 1)
    assert outlook._told(step, drops).splitlines()[3:5] == [
        "  colour         82  0 of 280      94",
        "  and 2 more",
    ]
    assert outlook._told(step, drops[2:3]) == ""
