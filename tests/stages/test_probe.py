"""Probes between steps of a run: what is asked, what it is worth, and what stays as it was."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import numpy as np
import pytest

from adaptinf.errors import UserError
from adaptinf.evaluation.gate import losses
from adaptinf.evaluation.matrix import AccuracyMatrix
from adaptinf.report import write_report
from config import Evaluate, load_recipe
from stages.context import Context
from stages.gate import check_losses
from stages.manager import open_context
from stages.probe import probe_size
from stages.walk import plan_walk
from tests.evaluation.label_files import write_mme

NAMES = ["caption", "mme"]
TASKS = [{"dataset": name} for name in ("llava", "mantis", "minigpt4")]


@pytest.fixture(scope="module")
def recipe_of(recipe_dict, tmp_path_factory):
    root = tmp_path_factory.mktemp("shelf")
    write_mme(root, 5)  # ten questions, in pairs

    def make(tasks: int, run: Path, **evaluate: object) -> dict:
        told = {"benchmarks": NAMES, "batch_size": 4, "root": str(root), "probe": 4, **evaluate}
        told["taught_by"] = {"mme": ["llava"]}
        return recipe_dict | {"tasks": TASKS[:tasks], "output_dir": str(run), "evaluate": told}

    return make


@pytest.fixture(scope="module")
def run(recipe_of, runner_of, tmp_path_factory) -> Path:
    """A run of two tasks; the first step is probed."""
    folder = tmp_path_factory.mktemp("runs") / "probed"
    runner_of(recipe_of(2, folder))(folder)
    return folder


def cell(run: Path, step: str, name: str) -> tuple[dict, list[dict]]:
    folder = run / "steps" / step / "evaluate" / name
    lines = (folder / "predictions.jsonl").read_text().splitlines()
    return json.loads((folder / "scores.json").read_text()), [json.loads(line) for line in lines]


def test_between_steps_a_part_is_asked(run):
    content = json.loads((run / "matrix.json").read_text())
    assert content["asked"] == [[6, 10], [4, 4], [6, 10]]
    assert [benchmark["n"] for benchmark in content["benchmarks"]] == [6, 10]
    scores, asked = cell(run, "1-llava", "mme")
    every = [line["question_id"] for line in cell(run, "0-base", "mme")[1]]
    ids = [line["question_id"] for line in asked]
    assert ids == [ident for ident in every if ident in ids]
    pairs = [ident.rpartition("/")[0] for ident in ids]
    assert all(pairs.count(pair) == 2 for pair in pairs)
    assert (scores["n"], scores["probe"]["of"]) == (4, 10)
    mean = 100 * sum(line["score"] for line in asked) / 4
    assert scores["probe"]["mean"] == pytest.approx(mean)
    assert scores["official"]["outcomes"]["questions"] == 4
    assert "probe" not in cell(run, "2-mantis", "mme")[0]


def test_the_score_is_the_estimate_from_the_strata_of_base_scores(run):
    base = {line["question_id"]: line["score"] for line in cell(run, "0-base", "caption")[1]}
    scores, asked = cell(run, "1-llava", "caption")
    matrix = AccuracyMatrix.from_json((run / "matrix.json").read_text())
    assert matrix.probed.tolist() == [[False, False], [True, True], [False, False]]
    assert matrix.scores[1, 0] == scores["score"]
    low, high = scores["interval"]
    assert low <= scores["score"] <= high
    assert {line["question_id"] for line in asked} <= set(base)


def test_the_gate_compares_the_same_questions(run):
    found = {loss.benchmark: loss for loss in losses(run, 1.0)}
    then = {line["question_id"]: line["score"] for line in cell(run, "1-llava", "mme")[1]}
    now = {line["question_id"]: line["score"] for line in cell(run, "2-mantis", "mme")[1]}
    lost = 100 * np.mean([then[ident] - now[ident] for ident in then])
    assert (found["mme"].items, found["mme"].of) == (4, 10)
    assert found["mme"].lost == pytest.approx(lost)
    told = check_losses(run, 100.0)[0]
    assert "4 of 10" in told
    assert "the same questions are compared before and after" in told
    file = run / "steps/2-mantis/evaluate/mme/predictions.jsonl"
    kept = file.read_text()
    try:
        file.write_text(kept.replace("Is it", "Was it"))
        with pytest.raises(UserError, match=r"mme: .*not to the same questions"):
            losses(run, 1.0)
    finally:
        file.write_text(kept)


def test_whoever_shows_the_matrix_marks_estimates(run, tmp_path):
    matrix = AccuracyMatrix.from_json((run / "matrix.json").read_text())
    shown = f"{matrix.scores[1, 1]:.1f}"
    line = next(line for line in matrix.table().splitlines() if line.startswith("mme"))
    assert f"~{shown}*" in line and line.count("~") == 1
    assert "~ estimated for all questions from a probe of them" in matrix.table()
    page = write_report(run, tmp_path / "page.html").read_text()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert f"mme, 1-llava: {shown} %" in text
    assert "estimated from a probe of 4, 10 items" in text
    assert "≈: estimated for all questions from a probe of them" in text
    assert "≈: of the questions that were asked of a probe." in text
    markdown = write_report(run, tmp_path / "page.md").read_text()
    assert f"**≈{shown}**" in markdown
    rows = write_report(run, tmp_path / "page.csv").read_text().splitlines()
    items = [row.split(",")[4] for row in rows[1:]]
    assert items == ["6", "10", "4", "4", "6", "10"]


def test_a_step_that_was_the_last_stays_whole(run, recipe_of, runner_of, contents):
    before = contents(run)
    assert int(runner_of(recipe_of(2, run))(run).stdout.splitlines()[-1]) == 0
    runner_of(recipe_of(3, run))(run)
    after = contents(run)
    assert all(after[file] == digest for file, digest in before.items() if file != "matrix.json")
    content = json.loads((run / "matrix.json").read_text())
    assert content["asked"] == [[6, 10], [4, 4], [6, 10], [6, 10]]
    assert int(runner_of(recipe_of(3, run))(run).stdout.splitlines()[-1]) == 0


@pytest.mark.slow
def test_killed_while_probed_it_ends_with_the_same_bytes(recipe_of, runner_of, tmp_path, contents):
    runs = tmp_path / "killed", tmp_path / "whole"
    runner = runner_of(recipe_of(2, runs[0]))
    for kill in ("0/evaluate:2", "1/evaluate:1", "1/evaluate:2"):
        assert runner(runs[0], kill=kill).returncode == -signal.SIGKILL, kill
    runner(runs[0])
    runner(runs[1])
    assert contents(runs[0]) == contents(runs[1])


def works_of(runner_of, recipe: dict, *overrides: str) -> dict:
    context = open_context(load_recipe(runner_of(recipe).recipe, overrides))
    return {work.name: work for step in plan_walk(context) for work in step.ordered}


def test_other_probes_are_other_cells_and_whole_ones_serve_any(recipe_of, runner_of, run):
    with pytest.raises(UserError, match=r"probe was 4, is 5"):
        works_of(runner_of, recipe_of(3, run), "evaluate.probe=5")["1-llava/evaluate/mme"].done()
    whole = works_of(runner_of, recipe_of(3, run), "evaluate.probe=null")
    assert whole["1-llava/evaluate/mme"].is_drifted()
    for probe in ("5", "null", "auto"):
        works = works_of(runner_of, recipe_of(3, run), f"evaluate.probe={probe}")
        for step in ("0-base", "2-mantis", "3-minigpt4"):
            assert works[f"{step}/evaluate/mme"].done() is not None


class _Many(Context):
    def __init__(self, probe: object, questions: int) -> None:
        self.recipe = type("R", (), {"evaluate": Evaluate(probe=probe)})
        self.many = questions

    def questions(self, benchmark: object) -> range:
        return range(self.many)


@pytest.mark.parametrize(
    ("probe", "questions", "asked"),
    [
        ("auto", 2000, None),
        ("auto", 2001, 500),
        (None, 10**6, None),
        (100, 100, None),
        (100, 101, 100),
    ],
)
def test_how_many_are_asked(probe, questions, asked):
    assert probe_size(_Many(probe, questions), None) == asked
