"""Published benchmarks inside a run: the numbers of ``adaptinf evaluate``, and what is kept."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from adaptinf.errors import UserError
from adaptinf.evaluation.gate import losses
from adaptinf.evaluation.matrix import AccuracyMatrix
from adaptinf.report import write_report
from config import load_recipe
from stages.evaluation import Order, evaluate
from stages.manager import open_context
from stages.preview import preview
from stages.walk import plan_walk
from tests.evaluation.label_files import write_captions, write_gqa, write_mmbench, write_pope

NAMES = ["caption", "pope", "gqa", "coco_captions", "mmbench"]


def ignore(name: str, questions: int, done: int) -> None:
    pass


@pytest.fixture(scope="module")
def shelf(tmp_path_factory) -> Path:
    """Four benchmarks; of GQA the base model answers every second question right."""
    root = tmp_path_factory.mktemp("shelf")
    write_pope(root, {"random": ["yes", "no", "yes"], "popular": ["no", "yes"]})
    write_captions(root, [["a red square", "a square"], ["a green circle bottom left"]])
    write_mmbench(root, 2)
    write_gqa(root, ["?"] * 4)
    evaluate(Order("tiny", None, ["gqa"], root, root / "out"), ignore)
    texts = [json.loads(line)["text"] for line in (root / "out/gqa/answers.jsonl").open()]
    right = [text.lower() if number % 2 else "?" for number, text in enumerate(texts)]
    write_gqa(root, right)
    return root


@pytest.fixture(scope="module")
def recipe_of_it(recipe_dict, shelf) -> dict:
    settings = {
        "benchmarks": NAMES,
        "batch_size": 4,
        "root": str(shelf),
        "rules": {"pope": "lmms"},
        "skills": {"pope": "objects"},
        "taught_by": {"pope": ["mantis"]},
    }
    return recipe_dict | {"evaluate": settings}


@pytest.fixture(scope="module")
def run(recipe_of_it, runner_of, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "published"
    runner_of(recipe_of_it)(folder)
    return folder


def cell(run: Path, step: str, name: str) -> dict:
    return json.loads((run / "steps" / step / "evaluate" / name / "scores.json").read_text())


def test_a_run_and_the_command_give_the_same_numbers(run, shelf, tmp_path):
    matrix = AccuracyMatrix.from_json((run / "matrix.json").read_text())
    adapter = run / "steps/2-mantis/train/adapter"
    order = Order("tiny", None, NAMES[1:], shelf, tmp_path / "base", batch_size=3)
    for row, given in enumerate((order, replace(order, adapter=adapter, out=tmp_path / "last"))):
        step = ("0-base", "2-mantis")[row]
        for ordered in (
            replace(given, benchmarks=["pope"], rules="lmms"),
            replace(given, benchmarks=NAMES[2:]),
        ):
            for one in evaluate(ordered, ignore):
                told = cell(run, step, one.benchmark)
                column = NAMES.index(one.benchmark)
                assert matrix.scores[2 * row, column] == pytest.approx(one.mean)
                outside = json.loads((given.out / one.benchmark / "scores.json").read_text())
                assert told["official"]["totals"] == outside["totals"]
                assert told["official"]["rules"] == outside["rules"]
                assert next(iter(told["official"]["totals"].values())) == one.value
    assert matrix.scores[0, NAMES.index("gqa")] == 50


def test_columns_say_what_they_are(run):
    content = json.loads((run / "matrix.json").read_text())
    told = {b["name"]: (b["skill"], b["metric"], b["learned_at"]) for b in content["benchmarks"]}
    assert told == {
        "caption": ("caption", "phrases", 1),
        "pope": ("objects", "lmms rules", 2),
        "gqa": ("gqa", "llava rules", 1),
        "coco_captions": ("coco_captions", "official rules", None),
        "mmbench": ("mmbench", "official rules", None),
    }
    kinds = {b["name"]: b.get("kind") for b in content["benchmarks"]}
    assert {name for name, kind in kinds.items() if kind} == {"coco_captions"}
    scores = dict(zip(NAMES, content["scores"][-1], strict=True))
    left = scores.pop("coco_captions")
    assert left > 0
    assert content["metrics"]["average_accuracy"] == pytest.approx(sum(scores.values()) / 4)


def test_cells_keep_readable_answers_and_what_they_were_made_from(run):
    folder = run / "steps/0-base/evaluate"
    answers = {}
    for name in NAMES:
        lines = (folder / name / "predictions.jsonl").read_text().splitlines()
        answers[name] = [json.loads(line)["answer"] for line in lines]
    assert answers["pope"] == ["no", "yes", "yes", "no", "yes"]
    assert answers["coco_captions"] == ["a red square", "a green circle bottom left"]
    assert answers["mmbench"] == ["A. cat", "B. cat", "A. cat", "B. cat"]
    done = json.loads((folder / "pope" / "DONE").read_text())
    assert done["settings"]["metric"] == "lmms rules"
    assert set(done["inputs"]) == {"model", "questions"}
    assert (run / "pictures/mmbench/1000001").is_file()


def test_the_report_shows_the_official_scores(run, tmp_path):
    page = write_report(run, tmp_path / "page.html").read_text()
    part = page.split('id="official"')[1].split("</section>")[0]
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", part))
    circular = cell(run, "0-base", "mmbench")["official"]["totals"]["circular accuracy"]
    assert f"mmbench official circular accuracy {circular:.1f}" in text
    assert "mmbench: MMBench without a judge." in text
    assert "popular yes_share" in text
    assert "Averages leave out what is no accuracy: coco_captions" in page
    assert {loss.benchmark: loss.before for loss in losses(run, 1.0)} == {
        "caption": "1-llava",
        "gqa": "1-llava",
        "coco_captions": "base",
        "mmbench": "base",
    }


def drifted(recipe_of_it, runner_of, run: Path, *overrides: str) -> list[str]:
    runner = runner_of(recipe_of_it | {"output_dir": str(run)})
    context = open_context(load_recipe(runner.recipe, overrides))
    works = [work for step in plan_walk(context) for work in step.ordered]
    return [work.name for work in works if work.is_drifted()]


def test_other_rules_and_other_labels_are_another_cell(run, recipe_of_it, runner_of, shelf):
    same = drifted(recipe_of_it, runner_of, run, "evaluate.taught_by={gqa: [mantis]}")
    assert same == []
    rules = drifted(recipe_of_it, runner_of, run, "evaluate.rules={gqa: lmms, pope: lmms}")
    assert rules == [f"{step}/evaluate/gqa" for step in ("0-base", "1-llava", "2-mantis")]
    file = shelf / "gqa/testdev_balanced_questions.json"
    kept = file.read_text()
    try:
        file.write_text(kept.replace('"answer": "?"', '"answer": "!"', 1))
        labels = drifted(recipe_of_it, runner_of, run)
    finally:
        file.write_text(kept)
    assert set(rules) < set(labels)
    assert all(name.endswith("/gqa") for name in labels)


def test_what_is_not_there_is_told_before_anything_is_asked(
    recipe_of_it, runner_of, shelf, tmp_path, monkeypatch
):
    def recipe(**changed: object):
        evaluated = recipe_of_it["evaluate"] | changed
        made = recipe_of_it | {"output_dir": str(tmp_path / "run"), "evaluate": evaluated}
        return load_recipe(runner_of(made).recipe)

    def planned(**changed: object) -> None:
        plan_walk(open_context(recipe(**changed)))

    with pytest.raises(UserError, match=r"no labels of okvqa;.*--root \S+ okvqa"):
        planned(benchmarks=[*NAMES, "okvqa"])
    with pytest.raises(UserError, match=r"unknown benchmark.*did you mean 'mmbench'"):
        planned(benchmarks=[*NAMES, "mmbensch"])
    with pytest.raises(UserError, match=r"evaluate\.taught_by: no benchmark of this.*'pope'"):
        planned(taught_by={"popes": ["llava"]})
    with pytest.raises(UserError, match=r"evaluate\.rules: no benchmark of this recipe"):
        planned(rules={"vqav2": "official"})
    (shelf / "vqav2").mkdir()
    asked = {"questions": [{"question_id": 1, "image_id": 1, "question": "What?"}]}
    file = shelf / "vqav2" / "v2_OpenEnded_mscoco_test2015_questions.json"
    file.write_text(json.dumps(asked))
    with pytest.raises(UserError, match=r"vqav2: a run measures what it can score \(no labels"):
        planned(benchmarks=[*NAMES, "vqav2"])
    other = tmp_path / "other"
    shutil.copytree(shelf, other)
    (other / "gqa/images/1.jpg").unlink()
    monkeypatch.setenv("ADAPTINF_BENCHMARKS_ROOT", str(other))
    with pytest.raises(UserError, match="1 images of gqa are missing"):
        preview(recipe(root=None))
    assert "5 benchmarks: 0 done" in preview(recipe())
