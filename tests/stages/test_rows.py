"""``adaptinf check``, ``adaptinf export`` and the page of rows, as a user gives the commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from adaptinf.data.source import find_source
from stages.check import columns_of
from stages.cli.check import check_rows
from stages.cli.guard import guarded, umbrella
from stages.rows import export_step


@pytest.fixture
def invoke(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADAPTINF_DATA_ROOT", raising=False)
    app = umbrella("test")
    app.command("check")(guarded(check_rows, ""))

    def call(*arguments: str):
        return CliRunner().invoke(app, ["check", *arguments])

    return call


def asked(image: str | None, answer: str) -> dict:
    question = {"from": "human", "value": "<image>\nColour?" if image else "Colour?"}
    turns = [question, {"from": "gpt", "value": answer}]
    return {"id": answer, "conversations": turns, **({"image": image} if image else {})}


@pytest.fixture
def rows(tmp_path) -> Path:
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "cup.png")
    found = [asked("cup.png", "blue"), asked("gone.png", "x"), asked(None, "no <b>idea</b>")]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([*found, found[0]]))
    return file


def test_a_check_tells_what_a_run_would_make_of_a_file(invoke, rows):
    result = invoke("rows.json", "--page", "page.html")
    assert result.exit_code == 0, result.output
    for line in (
        "rows: 4 rows, read as llava",
        "of the first 4: 2 usable",
        "left out: 1 missing-image: row 1 (gone.png)",
        "left out: 1 exact-duplicate: row 3",
        "[[ blue</s>]]",
    ):
        assert line in result.output
    page = (rows.parent / "page.html").read_text()
    assert '<mark class="answer"> blue&lt;/s&gt;</mark>' in page
    assert "no &lt;b&gt;idea" in page
    assert page.count("data:image/png") == 1


def test_a_strict_check_stops(invoke, rows):
    result = invoke("rows.json", "--strict")
    assert result.exit_code == 2
    assert "row 1 (x): missing-image" in result.output


def test_columns_on_the_command_line(invoke, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"ask": "Colour?", "reply": "blue"}\n')
    result = invoke("a.jsonl", "--column", "question=ask", "--column", "answer=reply")
    assert "1 usable" in result.output
    assert columns_of([]) is None
    for given, message in (
        (["ask"], "not a column"),
        (["asked=x"], "ours one of id"),
        (["question=x"], "needs question and answer"),
    ):
        result = invoke("a.jsonl", *(f"--column={text}" for text in given))
        assert result.exit_code == 2
        assert message in result.output


def test_a_step_is_exported_and_read_again(undisturbed, tmp_path):
    file, count = export_step(undisturbed, None, "sharegpt", tmp_path / "out")
    assert count == len(file.read_text().splitlines()) > 0
    source = find_source(str(file), root=tmp_path, media=tmp_path / "media", recipe_dir=tmp_path)
    assert source.format == "llava"
    names = [name for line in file.read_text().splitlines() for name in json.loads(line)["images"]]
    assert all((tmp_path / "out" / name).is_file() for name in names)
