"""Runs of earlier releases under today's code: ``scripts/keep_run.py`` has written them.

Fingerprints hold settings, data files, the model's weights and hand-set versions of stages, but no
version of a package and no path. So these runs go on on any machine. Where today's stages mean
something else on purpose (a raised ``VERSION``, another tiny model), the run of the release before
is to be made anew, and the changelog has to say that runs do not go on.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest

from adaptinf.console import make_console
from config import NEWER, Count, Section, load_recipe
from stages.manager import run_lifelong
from stages.reports import tables_of, write_run_report
from stages.status import run_status
from stages.verify import verify_run

GIVEN = Path(__file__).with_name("given")
AFTER_SELECT = ("2-opposites/select", "2-opposites/train", "2-opposites/evaluate/asked")


@pytest.fixture(params=sorted(folder.name for folder in GIVEN.iterdir()))
def old(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a run, in a place where it has never been."""
    folder = tmp_path / "moved"
    shutil.copytree(GIVEN / request.param, folder)
    monkeypatch.chdir(folder)
    return Path("run")


def go_on() -> int:
    """How many stages the same recipe performs."""
    return run_lifelong(load_recipe(Path("recipe.yaml"), []), make_console(None)).performed


def stamps(run: Path) -> dict[Path, int]:
    """When the files of stages were written; cards of steps came later and belong to none."""
    files = [file for file in (run / "steps").glob("*/*/**/*") if file.is_file()]
    return {file.relative_to(run / "steps"): file.stat().st_mtime_ns for file in files}


def test_runs_of_earlier_releases_are_found() -> None:
    assert (GIVEN / "0.1.0").is_dir()


def test_it_is_read(old: Path) -> None:
    assert run_status(old).state == "finished"
    assert run_status(old).stages_done == 1 + 8 + 9
    verdict = verify_run(old)
    assert verdict.is_sound, verdict.text()
    assert len(verdict.stages) == 18
    table = tables_of([old])
    assert "1-colours" in table and "2-opposites" in table
    write_run_report(old)
    assert verify_run(old).is_sound


def test_it_goes_on_with_nothing_to_do(old: Path, contents: Callable) -> None:
    before, times = contents(old), stamps(old)
    assert go_on() == 0
    assert contents(old) == before
    assert stamps(old) == times


def test_a_stage_that_is_gone_is_made_anew_and_what_hangs_on_it(old: Path) -> None:
    """On a machine that computes other last digits, what reads them is made anew too."""
    times = stamps(old)
    shutil.rmtree(old / "steps/2-opposites/select")
    performed = go_on()
    assert 1 <= performed <= len(AFTER_SELECT)
    now = stamps(old)
    assert now.keys() == times.keys()
    redone = {str(file) for file in now if now[file] != times[file]}
    assert "2-opposites/select/DONE" in redone
    assert all(name.startswith(AFTER_SELECT) for name in redone)
    assert performed == sum(name.endswith("DONE") for name in redone)
    assert verify_run(old).is_sound


def test_a_newer_setting_is_told_only_where_it_is_another_than_its_default() -> None:
    class Part(Section):
        size: Count = 3
        further: Annotated[Count, NEWER] = 2

    assert Part().lasting() == Part(further=2).lasting() == {"size": 3}
    assert Part(further=5).lasting() == {"size": 3, "further": 5}
