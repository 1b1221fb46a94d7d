"""The cards of adapters: front matter, the rows really trained on, the step's results; escaped."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from adaptinf.evaluation.matrix import AccuracyMatrix
from adaptinf.training.card import Card, Result, Share, cell


def front(text: str) -> dict:
    _, matter, _ = text.split("---\n", 2)
    return yaml.safe_load(matter)


def tables(text: str) -> list[list[list[str]]]:
    """Cells of each Markdown table, without its head."""
    found: list[list[list[str]]] = []
    lines = [line for line in text.splitlines()]
    for number, line in enumerate(lines):
        if line.startswith("|---"):
            rows = []
            for row in lines[number + 1 :]:
                if not row.startswith("|"):
                    break
                rows.append([part.strip() for part in row.strip("|").split("|")])
            found.append(rows)
    return found


def test_cards_of_a_run_equal_its_selection_and_its_matrix(undisturbed: Path) -> None:
    matrix = AccuracyMatrix.from_json((undisturbed / "matrix.json").read_text())
    for row, step in enumerate(("1-llava", "2-mantis"), 1):
        folder = undisturbed / "steps" / step
        text = (folder / "README.md").read_text()
        matter = front(text)
        assert (matter["base_model"], matter["library_name"]) == ("tiny", "peft")
        expected = ["liuhaotian/LLaVA-Instruct-150K", "TIGER-Lab/Mantis-Instruct"][:row]
        assert matter["datasets"] == sorted(expected)
        selected = pq.read_table(folder / "select/selection.parquet").to_pylist()
        trained = json.loads((folder / "train/adapter/lineage.json").read_text())["rows"]
        assert trained == len(selected) == 12
        names = ("dataset", "source", "licence")
        counts = Counter(tuple(cell(one[name]) for name in names) for one in selected)
        *rows, total = tables(text)[0]
        assert {tuple(told[:3]): int(told[3]) for told in rows} == counts
        assert total == ["all", "", "", "12"]
        *results, _ = [*tables(text)[-1], None]
        told = {line[0]: [float(number) for number in line[1:3]] for line in results}
        scores = matrix.scores
        for column, benchmark in enumerate(matrix.benchmarks):
            seen = [round(float(scores[at, column]), 1) for at in (0, row)]
            assert told[cell(benchmark.name)] == seen
        # What training wrote is sealed; it tells the same rows, and points to the other.
        own = (folder / "train/adapter/README.md").read_text()
        assert front(own) == matter
        assert tables(own)[0] == tables(text)[0]
        assert "see README.md of the step" in own


def test_what_comes_from_data_is_escaped() -> None:
    evil = "a|b\n# <script>alert(1)</script> [x](http://y) `z` ---"
    card = Card(
        base="tiny\nlicense: mit",
        route="lora",
        shares=[Share(evil, evil, evil, 3), Share("plain", None, None, 1)],
        hubs=[evil],
        results=[Result(evil, 1.0, 2.0, None)],
    )
    text = card.text()
    assert front(text)["base_model"] == "tiny\nlicense: mit"
    assert front(text)["datasets"] == [evil]
    body = text.split("---\n", 2)[2]
    assert "<script>" not in body and "[x](http" not in body
    assert not [line for line in body.splitlines() if line.startswith("# ")]
    assert cell("a|b") == "a\\|b" and cell("x" * 500).endswith("...")
    assert "| plain | unknown | unknown | 1 |" in body


def test_a_licence_is_told_only_where_all_rows_have_that_one() -> None:
    mine = Share("a", None, "cc by 4.0", 1)
    assert front(Card("m", "lora", shares=[mine]).text())["license"] == "cc-by-4.0"
    other = Share("b", None, "MIT", 1)
    nobody = Share("c", None, None, 1)
    assert "license" not in front(Card("m", "lora", shares=[mine], earlier=[other]).text())
    assert "license" not in front(Card("m", "lora", shares=[mine, nobody]).text())
