"""The gate: losses by hand, what is compared with what, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from adaptinf.errors import UserError
from adaptinf.evaluation.gate import least_loss, losses, visible_loss
from adaptinf.evaluation.matrix import AccuracyMatrix, BenchmarkColumn
from stages.cli.guard import guarded, umbrella
from stages.cli.report import forgetting_report
from stages.gate import check_losses

ITEMS = 400


def write_run(folder: Path, answers: dict[str, list[np.ndarray]], taught: dict[str, int]) -> Path:
    """A run with the scores [items] of each benchmark after the base model and each step."""
    steps = ["base", "1-a", "2-b", "3-c"]
    names = list(answers)
    scores = [[100 * answers[name][row].mean() for name in names] for row in range(len(steps))]
    columns = [BenchmarkColumn(n, f"skill-{n}", "exact", ITEMS, taught.get(n)) for n in names]
    matrix = AccuracyMatrix(steps, columns, scores)
    folder.mkdir()
    (folder / "matrix.json").write_text(matrix.to_json())
    for row, step in enumerate(["0-base", *steps[1:]]):
        for name in names:
            cell = folder / "steps" / step / "evaluate" / name
            cell.mkdir(parents=True)
            lines = [
                {"question_id": str(i), "prompt": "q", "text": "a", "answer": "a", "score": score}
                for i, score in enumerate(answers[name][row].tolist())
            ]
            (cell / "predictions.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    return folder


def hits(share: float) -> np.ndarray:
    return (np.arange(ITEMS) < share * ITEMS).astype(float)


@pytest.fixture
def run(tmp_path) -> Path:
    answers = {
        "kept": [hits(0.1), hits(0.8), hits(0.9), hits(0.8)],
        "lost": [hits(0.1), hits(0.8), hits(0.9), hits(0.7)],
        "base": [hits(0.5), hits(0.5), hits(0.5), hits(0.5)],
        "fresh": [hits(0.1), hits(0.1), hits(0.1), hits(0.9)],
    }
    return write_run(tmp_path / "run", answers, {"kept": 1, "lost": 1, "fresh": 3})


def test_each_benchmark_is_compared_with_the_step_that_taught_it(run):
    found = {loss.benchmark: loss for loss in losses(run, 1.0)}
    assert list(found) == ["kept", "lost", "base"]
    assert [(loss.before, loss.after) for loss in found.values()] == [
        ("1-a", "3-c"),
        ("1-a", "3-c"),
        ("base", "3-c"),
    ]
    assert found["kept"].lost == found["base"].lost == 0
    assert found["lost"].lost == pytest.approx(10)
    assert found["lost"].is_beyond(1.0)
    assert 5 < found["lost"].low < 10
    assert not found["lost"].is_beyond(9.9)
    assert not found["kept"].is_beyond(0.0)


def test_the_same_mean_with_other_answers_is_no_loss_but_less_certain():
    calm = np.zeros(400)
    churned = np.repeat([100.0, -100.0], 200)
    assert least_loss(calm) == 0
    assert least_loss(churned) < -5
    assert visible_loss(calm) == 0
    # 1.645 + 0.842 standard errors of 100 / 20 points.
    assert visible_loss(churned) == pytest.approx(2.4865 * 100 / 20, rel=2e-3)
    assert visible_loss(churned, 14) > visible_loss(churned)
    assert visible_loss(churned[:1]) == np.inf


def test_the_command_ends_with_1_and_names_the_skills(run):
    app = umbrella("test")
    app.command("report")(guarded(forgetting_report, ""))
    result = CliRunner().invoke(app, ["report", str(run), "--check"])
    assert result.exit_code == 1
    assert "beyond 1 points: skill-lost" in result.output
    result = CliRunner().invoke(app, ["report", str(run), "--check", "--tolerance", "15"])
    assert result.exit_code == 0
    assert "all within 15 points" in result.output
    assert CliRunner().invoke(app, ["report", str(run)]).exit_code == 0


def test_other_questions_cannot_be_compared(run):
    file = run / "steps" / "3-c" / "evaluate" / "lost" / "predictions.jsonl"
    file.write_text("\n".join(file.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(UserError, match=r"lost: .*not to the same questions"):
        losses(run, 1.0)
    file.unlink()
    with pytest.raises(UserError, match="no answers here"):
        check_losses(run, 1.0)
    with pytest.raises(UserError, match=r"no matrix\.json"):
        losses(run / "steps", 1.0)
