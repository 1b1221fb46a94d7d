"""Columns that came through lmms-eval: which join the matrix, and what is said of the others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from adaptinf.errors import UserError
from adaptinf.evaluation.answered import bridged_columns, read_matrix
from adaptinf.evaluation.comparison import compare_runs
from adaptinf.evaluation.gate import losses
from stages.reports import tables_of
from tests.evaluation.test_gate import hits, write_run

FOLDERS = ("0-base", "1-a", "2-b", "3-c")


def bridge(
    run: Path,
    step: str,
    task: str,
    items: np.ndarray | float,
    model: str = "m",
    metric: str = "accuracy",
) -> None:
    """What a step got for a task: scores of its items, or a number in a unit of its own."""
    done = run / "steps" / step / "evaluate" / "own" / "DONE"
    done.write_text(json.dumps({"inputs": {"model": "m", "questions": "q"}}))
    folder = run / "steps" / step / "lmms" / task
    folder.mkdir(parents=True, exist_ok=True)
    top = folder.parent if "/" in task else folder
    (top / "DONE").write_text(json.dumps({"inputs": {"model": model, "include_path": "i"}}))
    shares = isinstance(items, np.ndarray)
    mean = float(100 * items.mean()) if shares else None
    cell = {
        "metric": metric,
        "n": len(items) if shares else 7,
        "score": float(items.mean()) if shares else items,
        "stderr": None,
        "mean": mean,
        "interval": [mean - 5, mean + 5] if shares else None,
    }
    (folder / "scores.json").write_text(json.dumps(cell))
    lines = [
        {"question_id": str(i), "prompt": "p", "text": "t", "answer": "a", "score": score}
        for i, score in enumerate(items.tolist() if shares else ())
    ]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    own = {"own": [hits(0.1), hits(0.8), hits(0.9), hits(0.8)]}
    return write_run(tmp_path / "run", own, {"own": 1})


def test_a_column_beside_probes_was_asked_whole(run: Path) -> None:
    told = json.loads((run / "matrix.json").read_text())
    n = told["benchmarks"][0]["n"]
    told["asked"] = [[n], [20], [20], [n]]
    (run / "matrix.json").write_text(json.dumps(told))
    for folder in FOLDERS:
        bridge(run, folder, "pope", hits(0.5))
    matrix = read_matrix(run)
    assert matrix.probed.tolist() == [[False, False], [True, False], [True, False], [False, False]]


def test_a_whole_column_joins_the_matrix(run: Path) -> None:
    for folder, share in zip(FOLDERS, (0.4, 0.5, 0.6, 0.2), strict=True):
        bridge(run, folder, "pope", hits(share))
    stored = (run / "matrix.json").read_text()
    matrix = read_matrix(run)
    assert [b.name for b in matrix.benchmarks] == ["own", "lmms:pope"]
    assert matrix.benchmarks[1].metric == "accuracy" and matrix.benchmarks[1].learned_at is None
    assert matrix.scores[:, 1].tolist() == pytest.approx([40, 50, 60, 20])
    assert matrix.average_accuracy() == pytest.approx((80 + 20) / 2)
    assert matrix.retention() == pytest.approx(20 - 40)
    assert (run / "matrix.json").read_text() == stored


def test_intervals_join_too(run: Path) -> None:
    content = json.loads((run / "matrix.json").read_text())
    content["intervals"] = [[[0, 1]]] * 4
    (run / "matrix.json").write_text(json.dumps(content))
    for folder in FOLDERS:
        bridge(run, folder, "pope", hits(0.4))
    assert read_matrix(run).intervals[2].tolist() == [[0, 1], [35, 45]]


def test_what_is_not_of_every_step_stays_out_of_the_averages(run: Path) -> None:
    bridge(run, "0-base", "pope", hits(0.4))
    bridge(run, "3-c", "pope", hits(0.2))
    assert [b.name for b in read_matrix(run).benchmarks] == ["own"]
    (column,) = bridged_columns(run, read_matrix(run).steps)
    assert column.values == [40, None, None, 20]
    text = tables_of([run])
    assert text.splitlines()[-1].split() == ["lmms:pope", "accuracy,", "%", "40", "-", "-", "20"]
    assert "not in the averages" in text


def test_what_has_a_unit_of_its_own_stays_out_though_one_step_looks_like_shares(run: Path) -> None:
    bridge(run, "0-base", "mme", np.zeros(7))  # nothing right: the sum is their mean
    for folder, total in zip(FOLDERS[1:], (1200.0, 1300.0, 900.0), strict=True):
        bridge(run, folder, "mme", total)
    assert [b.name for b in read_matrix(run).benchmarks] == ["own"]
    (column,) = bridged_columns(run, read_matrix(run).steps)
    assert column.values == [0, 1200, 1300, 900]
    assert tables_of([run]).splitlines()[-1].split() == (
        ["lmms:mme", "accuracy", "0", "1200", "1300", "900"]
    )


def test_other_numbers_of_items_make_no_whole_column(run: Path) -> None:
    for folder in FOLDERS:
        bridge(run, folder, "pope", hits(0.4)[: 50 if folder == "2-b" else 100])
    assert len(read_matrix(run).benchmarks) == 1


def test_what_a_model_of_before_gave_is_left_out(run: Path) -> None:
    for folder in FOLDERS:
        bridge(run, folder, "pope", hits(0.4), model="before" if folder == "3-c" else "m")
    (column,) = bridged_columns(run, read_matrix(run).steps)
    assert column.values == [40, 40, 40, None]


def test_tasks_of_a_group_have_columns_of_their_own(run: Path) -> None:
    bridge(run, "0-base", "world/colours", hits(0.4))
    bridge(run, "0-base", "world/shapes", hits(0.3))
    steps = read_matrix(run).steps
    assert [c.name for c in bridged_columns(run, steps)] == (
        ["lmms:world/colours", "lmms:world/shapes"]
    )


def test_the_gate_looks_at_them(run: Path) -> None:
    bridge(run, "0-base", "pope", hits(0.4))
    bridge(run, "3-c", "pope", hits(0.2))
    bridge(run, "0-base", "vqa", hits(0.4))  # not asked after the last step
    own, pope = losses(run, 1.0)
    assert (own.benchmark, pope.benchmark) == ("own", "lmms:pope")
    assert (pope.before, pope.after, pope.lost) == ("base", "3-c", pytest.approx(20))
    assert pope.is_beyond(1.0) and pope.items == 400


def test_two_runs_are_compared_by_them(run: Path, tmp_path: Path) -> None:
    own = {"own": [hits(0.1), hits(0.8), hits(0.9), hits(0.8)]}
    other = write_run(tmp_path / "other", own, {"own": 1})
    for folder, share, total in ((run, 0.2, 1200.5), (other, 0.5, 1300.0)):
        bridge(folder, "3-c", "pope", hits(share))
        bridge(folder, "3-c", "mme", total, metric="sum")
    bridge(run, "3-c", "vqa", hits(0.4))
    bridge(other, "0-base", "vqa", hits(0.4))
    found = compare_runs(run, other)
    assert [(d.benchmark, d.points) for d in found.differences] == (
        [("own", 0), ("lmms:pope", pytest.approx(30))]
    )
    assert found.refused == {
        "lmms:mme": "the first has sum 1200.5, the second sum 1300",
        "lmms:vqa": "the first has percentages, the second no answers",
    }


@pytest.mark.parametrize("text", ["{", "[]", '{"metric": "a"}', '{"score": NaN}'])
def test_files_that_the_bridge_has_not_written_are_refused(run: Path, text: str) -> None:
    bridge(run, "0-base", "pope", hits(0.4))
    file = run / "steps" / "0-base" / "lmms" / "pope" / "scores.json"
    whole = json.loads(file.read_text())
    file.write_text(json.dumps(whole | {"score": np.nan}) if "NaN" in text else text)
    with pytest.raises(UserError, match=r"scores\.json"):
        read_matrix(run)
