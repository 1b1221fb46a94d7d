"""What is shared, in the report."""

from __future__ import annotations

import json
from pathlib import Path

from adaptinf.report import build_report
from adaptinf.report.overlaps import overlaps_of
from tests.report.conftest import FakeRun


def write(step: Path, benchmarks: dict[str, int], datasets: dict[str, int]) -> None:
    def numbers(near: int) -> dict[str, int]:
        return {"rows": 200, "exact": 1, "images": 9, "near": near, "texts": 2}

    places = {f"benchmarks/{key}": {key: numbers(near)} for key, near in benchmarks.items()}
    if datasets:
        places["datasets"] = {key: numbers(near) for key, near in datasets.items()}
    for place, found in places.items():
        folder = step / "overlap" / place
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "overlap.json").write_text(json.dumps(found))


def test_what_is_there_is_gathered(tmp_path: Path) -> None:
    write(tmp_path / "1-a", {"colour": 1, "shape": 2}, {})
    found = overlaps_of([tmp_path / "1-a", tmp_path / "2-b"])
    assert list(found.benchmarks) == ["1-a"]
    assert found.leaked == 3
    assert found.datasets == {"1-a": {}}
    assert overlaps_of([tmp_path / "2-b"]) is None


def test_the_report_tells_of_leaks_and_of_repeated_rows(run: FakeRun, own_run: FakeRun) -> None:
    assert "Seen before" not in build_report(run.folder)
    first, second, *_ = sorted((own_run.folder / "steps").glob("[1-9]-*"))
    write(first, {"colour": 0, "shape": 0}, {})
    write(second, {"colour": 0, "shape": 0}, {"llava": 4})
    page = build_report(own_run.folder)
    assert "No question of a benchmark has both" in page
    assert "1 · 4" in page
    write(second, {"colour": 3, "shape": 0, "place": 0}, {"llava": 4})
    page = build_report(own_run.folder)
    assert "learned by heart" in page
