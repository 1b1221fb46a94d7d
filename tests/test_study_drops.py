from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from adaptinf.errors import UserError
from adaptinf.evaluation import drops

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import study_drops  # noqa: E402
import study_drops_page  # noqa: E402
import study_replay  # noqa: E402
from study_drops import Case, held, table_of  # noqa: E402

import study_plan  # noqa: E402

EVERY = [(level, share) for level in range(5) for share in range(5)]


def test_a_cell_is_the_mean_of_its_cases() -> None:
    cases = [Case("main/random-0", cell, 2.0, False) for cell in EVERY]
    cases.append(Case("main/random-1", (4, 0), 9.0, False))
    table = table_of(cases)
    assert table[20] == {"level": 4, "share": 0, "drop": 5.5, "cases": 2}
    assert [cell["drop"] for cell in table if cell["cases"] == 1] == [2.0] * 24
    with pytest.raises(UserError, match=r"some cells.*\(0, 3\)"):
        table_of([case for case in cases if case.cell != (0, 3)])


def test_each_case_is_told_by_those_of_other_groups() -> None:
    cases = [
        Case("main/random-0", (4, 0), 90.0, False),
        Case("main/random-0", (0, 4), 0.0, False),
        Case("main/el2n-1", (4, 0), 60.0, True),
        Case("main/el2n-1", (0, 4), 6.0, True),
        Case("half/random-equal-cost-1", (1, 1), 30.0, False),
    ]
    # Of random-0 the rest tells 60 and 6; of el2n-1 90 and 0; of the last, alone in its cell, 39.
    drop, told = [90, 0, 60, 6, 30], [60, 6, 90, 0, 39]
    spread = sum((d - 37.2) ** 2 for d in drop)
    error = sum((d - t) ** 2 for d, t in zip(drop, told, strict=True))
    found = held(cases, cases[:2])
    assert found["r2"]["run"] == pytest.approx(1 - error / spread, abs=1e-3)
    assert found["all"] | {"r2": None} == {
        **{"cases": 5, "drops": 3, "warnings": 3, "right": 3, "r2": None}
    }
    assert (found["featured"]["cases"], found["featureless"]["cases"]) == (2, 3)
    # By all cases: 75 and 3 in place of 90 and 0.
    assert found["others"]["r2"] == pytest.approx(1 - (15**2 + 3**2) / (2 * 45**2), abs=1e-3)
    assert [case.way for case in cases] == ["random", "random", "el2n", "el2n", "random"]
    assert [case.setting for case in cases][3:] == ["main", "half"]


def test_runs_trained_otherwise_stay_out_of_the_table() -> None:
    known, aside = study_drops.cells_of(study_plan.read_plan())
    assert len(known) + len(aside) == 193
    assert {cell.way.partition("-")[2] for cell in aside} == {
        *("low-rate", "attention", "ema", "interpolate")
    }


def test_the_page_and_what_is_shipped_are_those_of_the_numbers() -> None:
    found = json.loads((ROOT / "docs" / "expected_drops.json").read_text())
    page = (ROOT / "docs" / "expected_drops.md").read_text()
    replay = json.loads((ROOT / "docs" / "replay.json").read_text())
    assert study_drops_page.page_of(found, replay) == page
    shipped = json.loads(Path(drops.__file__).with_suffix(".json").read_text())
    assert shipped == {"cells": found["cells"]}


def test_old_rows_that_spare_most_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two skills fall by 90 without a row and by 10 with one in a hundred; one never falls."""
    points = {0: 90.0, 1: 50.0, 2: 10.0, 3: 5.0, 4: 5.0}
    monkeypatch.setattr(
        study_replay, "expected_drop", lambda cell: (points[cell[1]] if cell[0] else 0.0, 1)
    )
    skills = {
        "high": ([80.0], np.arange(0, 10)),
        "twice": ([80.0, 70.0], np.arange(10, 20)),
        "low": ([5.0], np.arange(20, 30)),
    }
    monkeypatch.setattr(study_replay, "_skills", lambda *_: skills)
    old = np.arange(30)[::-1]
    # Of 200 rows one in a hundred is two: the pair of benchmarks first, then the other skill; what
    # is left of five goes to the pair's next band, which is too far, and so to the rest in order.
    order = study_replay.order_by_drops(None, old, None, (), 5, 200)
    assert sorted(order[:4].tolist()) == [0, 1, 10, 11]
    assert order[4:].tolist() == [row for row in old.tolist() if row not in (0, 1, 10, 11)]
    assert study_replay.order_by_drops(None, old, None, (), 1, 200)[0] == 10
