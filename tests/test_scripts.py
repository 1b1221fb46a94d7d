from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = runpy.run_path(str(ROOT / "scripts/pages.py"))


def test_text_is_put_between_the_comments_that_name_it(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x.json -->\nold\n<!-- end -->\nb\n<!-- y.json -->\n<!-- end -->\n")
    PAGES["put"](page, "x.json", "new\n")
    assert page.read_text() == (
        "a\n<!-- x.json -->\nnew\n<!-- end -->\nb\n<!-- y.json -->\n<!-- end -->\n"
    )
    with pytest.raises(ValueError):
        PAGES["put"](page, "z.json", "new\n")


def test_a_table_in_markdown() -> None:
    heads = {"name": "way", "value": "rows"}
    text = PAGES["markdown"](heads, [{"name": "all", "value": 3, "more": 1}])
    assert text == "| way | rows |\n|---|---:|\n| all | 3 |\n"


def test_the_gpu_bench_runs_on_a_small_shape(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    page = tmp_path / "page.md"
    page.write_text(f"<!-- {out} -->\nnot measured yet\n<!-- end -->\n")
    few = ["--rows", "2", "--plain-rows", "1", "--repeats", "1"]
    script = [sys.executable, str(ROOT / "scripts/bench_gpu.py"), "--tiny", *few]
    subprocess.run([*script, "--out", str(out), "--page", str(page)], check=True)
    results = json.loads(out.read_text())
    ways = results["ways"]
    assert {"forward", "features", "features, grounding", "plain, grounding"} <= set(ways)
    assert results["tokens"] == 36
    assert all(way["rows_per_second"] > 0 for way in ways.values())
    assert ways["features"]["share_of_matrix_rate"] > 0
    assert "rows a second" in page.read_text()
    assert "not measured yet" not in page.read_text()
