from __future__ import annotations

import json
import random
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from adaptinf.data import readers
from adaptinf.data.source import Source

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


def test_m3it_is_converted_by_subset_with_seeded_draws(tmp_path: Path) -> None:
    convert = runpy.run_path(str(ROOT / "scripts/convert_m3it.py"))["convert"]
    loaded: list[str] = []

    def load(subset: str) -> list[dict[str, object]] | None:
        loaded.append(subset)
        if subset == "winoground":
            return None
        return [
            {
                "instruction": random.choice(["Answer.", "Look.", "Say."]),
                "inputs": f"question {number}",
                "outputs": "a",
                "image_base64_str": ["aGk="],
                "more": 1,
            }
            for number in range(20)
        ]

    first = convert(["gqa", "winoground", "new"], tmp_path / "a", load, seed=0)
    assert first == {"gqa": 20, "winoground": None, "new": 20}
    convert(["gqa"], tmp_path / "b", load, seed=0)
    convert(["gqa"], tmp_path / "c", load, seed=1, limit=5)
    texts = [(tmp_path / name / "vqa/gqa/train.jsonl").read_text() for name in "abc"]
    assert texts[0] == texts[1]
    assert len(texts[2].splitlines()) == 5
    assert texts[2] not in texts[0]
    assert (tmp_path / "a/other/new/train.jsonl").is_file()
    loaded.clear()
    assert convert(["gqa"], tmp_path / "a", load, seed=0) == {"gqa": 20}
    assert loaded == []
    source = Source("m3it", "m3it", tmp_path / "c", tmp_path, None, embedded=True)
    (row, *_) = readers.read(source, tmp_path / "media")
    assert row.problem == "undecodable-image"
