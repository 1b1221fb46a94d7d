"""The answers of a run's steps, as single scores, by what was asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from adaptinf.errors import UserError
from adaptinf.evaluation.matrix import AccuracyMatrix

BASE_FOLDER = "0-base"


def read_matrix(run: Path) -> AccuracyMatrix:
    """The matrix of a run. Raises ``UserError`` where there is none."""
    file = run / "matrix.json"
    if not file.is_file():
        raise UserError("no matrix.json here", where=str(run), hint="give the folder of a run")
    return AccuracyMatrix.from_json(file.read_text(encoding="utf-8"))


def step_folder(run: Path, steps: Sequence[str], number: int) -> Path:
    """The folder of a step of a run (0: the base model)."""
    return run / "steps" / (steps[number] if number else BASE_FOLDER)


def step_scores(run: Path, steps: Sequence[str], number: int, benchmark: str) -> dict[str, float]:
    """Scores in percent of a step (0: the base model), by question.

    A question is named by its id, its prompt and the right answer, so that those of two runs are
    the same only where all of it is.

    Raises:
        UserError: the step has not answered this benchmark.
    """
    file = step_folder(run, steps, number) / "evaluate" / benchmark / "predictions.jsonl"
    if not file.is_file():
        raise UserError("no answers here", where=str(file), hint="run the recipe to its end")
    with file.open(encoding="utf-8") as lines:
        return dict(_score(json.loads(line)) for line in lines)


def _score(row: Mapping[str, object]) -> tuple[str, float]:
    asked = json.dumps([row["question_id"], row["prompt"], row["answer"], row.get("images")])
    return asked, 100.0 * float(str(row["score"]))
