"""The matrix in other forms."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from adaptinf.evaluation.matrix import AccuracyMatrix, BenchmarkColumn
from adaptinf.report import write_report
from adaptinf.report.tables import as_csv, as_markdown
from tests.report.conftest import FakeRun

MATRIX = AccuracyMatrix(
    ["base", "1-a|b", "2-c"],
    [
        BenchmarkColumn("col_our", "s", "exact", 20, 1),
        BenchmarkColumn("<b>", "t", "exact", 30, None),
    ],
    [[1.0, 50.0], [80.0, 49.0], [70.25, 48.0]],
    [[[0, 2], [45, 55]], [[75, 85], [44, 54]], [[65, 75], [43, 53]]],
)


def test_markdown() -> None:
    text = as_markdown(MATRIX)
    assert "| benchmark | base | 1-a\\|b | 2-c | drop |" in text
    assert "| col\\_our | 1.0 | **80.0** | 70.2 | 9.8 |" in text
    assert "| \\<b\\> | 50.0 | 49.0 | 48.0 | - |" in text
    assert "| Forgetting, max-drop | 9.8 points |" in text


def test_csv() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(MATRIX))))
    assert len(rows) == 6
    assert rows[2] == {
        "step": "1-a|b",
        "benchmark": "col_our",
        "skill": "s",
        "metric": "exact",
        "items": "20",
        "learned_at": "1",
        "score": "80.0",
        "low": "75.0",
        "high": "85.0",
    }
    assert rows[5]["learned_at"] == ""


def test_the_suffix_of_a_file_decides(run: FakeRun, tmp_path: Path) -> None:
    texts = {
        name: write_report(run.folder, tmp_path / name).read_text() for name in ("a.md", "a.csv")
    }
    assert texts["a.md"].startswith("After ")
    assert texts["a.csv"].startswith("step,benchmark")
    again = AccuracyMatrix.from_json(write_report(run.folder, tmp_path / "a.json").read_text())
    assert again.steps == AccuracyMatrix.from_json((run.folder / "matrix.json").read_text()).steps
    assert write_report(run.folder, tmp_path / "a.html").read_text().startswith("<!doctype html>")
