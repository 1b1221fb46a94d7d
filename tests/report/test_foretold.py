from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from adaptinf.evaluation.drops import Expected, Standing
from adaptinf.report import foretold
from adaptinf.report.findings import read_findings
from adaptinf.report.foretold import foretold_drops
from adaptinf.report.page import build_report


def expected(matrix: object, steps: list) -> list[Expected]:
    """Of each step 20 points are told of list, 5 of colour and parity."""
    levels = matrix.scores[len(steps) - 1]
    names = [column.name for column in matrix.benchmarks]
    told = {"list": 20.0, "colour": 5.0} | ({"parity": 5.0} if len(steps) > 2 else {})
    return [
        Expected(Standing(name, float(levels[names.index(name)]), 3, 40), points, 7)
        for name, points in told.items()
    ]


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foretold, "expected_drops", expected)
    monkeypatch.setattr(foretold, "_has_rows", lambda step: True)


def test_what_was_told_or_came_is_listed(run: SimpleNamespace) -> None:
    found = foretold_drops(read_findings(run.folder))
    listed = [
        (one.step, one.expected.standing.benchmark, one.was_told, one.is_large) for one in found
    ]
    assert listed == [
        ("2-m3it", "list", True, True),
        ("3-minigpt4", "list", True, False),
        ("3-minigpt4", "parity", False, True),
        ("4-mantis", "list", True, True),
        ("4-mantis", "colour", False, True),
        ("5-vision_flan", "list", True, False),
        ("5-vision_flan", "parity", False, True),
    ]
    assert np.round([one.came for one in found], 6).tolist() == [
        *(26.5, -17.5, 14.5, 26.5, 17.5, 9.0, 22.5)
    ]


def test_the_page_counts_them(run: SimpleNamespace) -> None:
    page = " ".join(build_report(run.folder).split())
    assert "Drops of 10 points or more in a single step: 5. " in page
    assert "Told before the step trained: 2 of them, by 4 warnings." in page
    assert "<td>3 of 40</td><td>20.0</td><td>26.5</td>" in page


def test_steps_without_their_rows_are_left_out(
    own_run: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    (own_run.folder / "steps" / "3-minigpt4" / "ingest" / "pool.parquet").unlink()
    assert {one.step for one in foretold_drops(read_findings(own_run.folder))} == {"2-m3it"}
