"""The answers of a run's steps, as single scores, by what was asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from adaptinf.errors import UserError
from adaptinf.evaluation import bridged
from adaptinf.evaluation.bridged import BridgedColumn
from adaptinf.evaluation.matrix import AccuracyMatrix, BenchmarkColumn

BASE_FOLDER = "0-base"


def read_matrix(run: Path) -> AccuracyMatrix:
    """The matrix of a run, with the whole columns that came through lmms-eval.

    Raises:
        UserError: there is none, or what is there is no matrix.
    """
    file = run / "matrix.json"
    if not file.is_file():
        hint = "give the output_dir of a run that has finished a step"
        raise UserError("no matrix.json here", where=str(run), hint=hint)
    try:
        matrix = AccuracyMatrix.from_json(file.read_text(encoding="utf-8"))
    except (UserError, UnicodeDecodeError) as error:
        raise UserError(str(error), where=str(file)) from None
    return bridged.joined(matrix, bridged_columns(run, matrix.steps))


def bridged_columns(run: Path, steps: Sequence[str]) -> list[BridgedColumn]:
    """All that came through lmms-eval, whole columns or not."""
    return bridged.read_columns([step_folder(run, steps, row) for row in range(len(steps))])


def columns_between(
    run: Path, matrix: AccuracyMatrix, rows: Sequence[int]
) -> list[BenchmarkColumn]:
    """Columns that have single scores at these rows: the matrix's, and further ones of lmms-eval.

    Those are columns that were not asked at every step, but at these.
    """
    further = bridged_columns(run, matrix.steps)
    partly = [c.benchmark() for c in further if not c.is_whole and c.compares(rows)]
    return [*matrix.benchmarks, *partly]


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
    within = "evaluate/" + benchmark
    if benchmark.startswith(bridged.PREFIX):
        within = f"{bridged.FOLDER}/{benchmark.removeprefix(bridged.PREFIX)}"
    file = step_folder(run, steps, number) / within / "predictions.jsonl"
    if not file.is_file():
        raise UserError("no answers here", where=str(file), hint="run the recipe to its end")
    with file.open(encoding="utf-8") as lines:
        return dict(_score(json.loads(line)) for line in lines)


def asked_of(row: Mapping[str, object]) -> str:
    """What was asked and what is right, as a row of ``predictions.jsonl`` tells it."""
    return json.dumps([row["question_id"], row["prompt"], row["answer"], row.get("images")])


def _score(row: Mapping[str, object]) -> tuple[str, float]:
    return asked_of(row), 100.0 * float(str(row["score"]))
