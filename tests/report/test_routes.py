"""Factors that skills share, by hand."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adaptinf.report import build_report
from adaptinf.report.routes import shared_routes
from tests.report.conftest import FakeRun

LAYERS = ("model.layers.0.q", "model.layers.1.q")


def write(folder: Path, skill: str, *pools: list[int]) -> Path:
    """Counts of the A pool of one module each."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"layer": layer, "side": "a", "label": skill, "factor": factor, "count": count}
        for layer, counts in zip(LAYERS, pools, strict=True)
        for factor, count in enumerate(counts)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "routes.parquet")
    return folder


def test_what_two_skills_have_in_common(tmp_path: Path) -> None:
    folders = [
        write(tmp_path / "a", "colour", [4, 0, 0], [1, 1, 2]),
        write(tmp_path / "b", "shape", [0, 2, 0], [1, 1, 0]),
        write(tmp_path / "c", "colour", [0, 4, 0], [1, 1, 2]),
        tmp_path / "none",
    ]
    found = shared_routes(folders)
    assert found.skills == ("colour", "shape")
    # Colour: halves of factors 0 and 1, shape all of 1: 50 %; a quarter and a quarter: 50 %.
    assert found.shares.tolist() == [[100, 50], [50, 100]]
    assert shared_routes(folders[:1]) is None
    assert shared_routes([]) is None


def test_the_report_shows_them_where_there_are_such(run: FakeRun, own_run: FakeRun) -> None:
    assert "share factors" not in build_report(run.folder)
    last = own_run.folder / "steps" / "5-vision_flan" / "evaluate"
    write(last / "colour", "colour", [4, 0, 0], [1, 1, 2])
    write(last / "shape", "shape", [0, 2, 0], [1, 1, 0])
    page = build_report(own_run.folder)
    assert "Which skills share factors" in page
    assert page.count('<td class="shade"') == 4
    assert pytest.approx(25) == shared_routes([last / "colour", last / "shape"]).shares[0, 1]
