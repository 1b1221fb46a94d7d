"""Several runs on one page."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from adaptinf.errors import UserError
from adaptinf.report.many import write_comparison
from stages.cli.guard import guarded, umbrella
from stages.cli.report import forgetting_report
from tests.evaluation.test_gate import hits, write_run


def make(folder: Path, share: float, recipe: str, *, cost: bool = True) -> Path:
    answers = {
        "colour": [hits(0.1), hits(0.8), hits(0.8), hits(share)],
        "<b>shape</b>": [hits(0.2), hits(0.2), hits(0.5), hits(0.5)],
    }
    run = write_run(folder, answers, {"colour": 1, "<b>shape</b>": 2})
    (run / "config.resolved.yaml").write_text(f"output_dir: {run}\n{recipe}")
    if cost:
        stage = '{"train": {"seconds": 30.0, "rows": 9}, "featurize": {"seconds": 60.0, "rows": 9}}'
        (run / "cost.json").write_text(f'{{"steps": [{{"step": "1-a", "stages": {stage}}}]}}')
    return run


@pytest.fixture
def runs(tmp_path) -> list[Path]:
    return [
        make(tmp_path / "one", 0.7, "seed: 0\nselect: {budget: 5, method: random}\n"),
        make(tmp_path / "two", 0.8, "seed: 1\nselect: {budget: 5, method: random}\n"),
        make(tmp_path / "three", 0.8, "seed: 0\nselect: {budget: 5, method: '<i>'}\n"),
    ]


def test_a_page_of_several_runs(runs, tmp_path):
    page = write_comparison(runs, tmp_path / "page.html").read_text()
    assert "<h1>3 runs</h1>" in page
    assert "1. one" in page
    # Colour is ten points better on 400 questions, shape the same: five points on average.
    assert "<td>+5.0<br>" in page
    assert "One recipe, several seeds or orders" in page
    assert (
        '<th scope="row">1, 2</th><td>2</td><td>1</td><td>62.5 ± 3.5</td><td>2.5 ± 3.5</td>' in page
    )
    assert "<td><strong>80.0</strong></td>" in page
    assert "select.method" in page
    assert "&lt;i&gt;" in page
    assert "&lt;b&gt;shape" in page
    assert "<b>shape" not in page
    assert "90.0 s" in page
    assert "http" not in page.replace("http-equiv", "")


def test_orders_of_the_same_tasks_are_pooled_and_other_tasks_are_not(tmp_path):
    orders = ["[{dataset: a}, {dataset: b}]", "[{dataset: b}, {dataset: a}]", "[{dataset: a}]"]
    runs = [
        make(tmp_path / f"run-{number}", share, f"seed: 0\ntasks: {tasks}\n")
        for number, (share, tasks) in enumerate(zip((0.7, 0.8, 0.5), orders, strict=True))
    ]
    page = write_comparison(runs, tmp_path / "page.html").read_text()
    # Averages of 60 and 65, shape being at 50; losses of 10 and 0 in colour, and none in shape.
    assert '<th scope="row">1, 2</th><td>1</td><td>2</td><td>62.5 ± 3.5</td>' in page
    assert '<th scope="row">1, 2, 3</th>' not in page


def test_runs_that_cannot_be_compared_are_still_shown(runs, tmp_path):
    other = make(tmp_path / "other", 0.5, "seed: 0\n", cost=False)
    file = other / "steps" / "3-c" / "evaluate" / "colour" / "predictions.jsonl"
    file.write_text(file.read_text().replace('"prompt": "q"', '"prompt": "w"'))
    page = write_comparison([runs[0], other], tmp_path / "page.html").read_text()
    assert "only 0 of 400 questions are the same" in page
    assert "What it cost" not in page
    with pytest.raises(UserError, match="two runs or more, each once"):
        write_comparison([runs[0], runs[0]], tmp_path / "page.html")
    with pytest.raises(UserError, match=r"matrix\.json"):
        write_comparison([runs[0], tmp_path], tmp_path / "page.html")


def test_the_command_takes_several_runs(runs, tmp_path):
    app = umbrella("test")
    app.command("report")(guarded(forgetting_report, ""))
    out = tmp_path / "all.html"
    result = CliRunner().invoke(app, ["report", *map(str, runs), "--out", str(out), "--check"])
    assert result.exit_code == 1, result.output
    assert "beyond 1 points: skill-colour" in result.output
    assert out.is_file()
    assert "three" in result.output
