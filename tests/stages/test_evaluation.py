"""``adaptinf evaluate``: the numbers of a run's matrix outside of it, resumable and guarded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from adaptinf.errors import UserError
from adaptinf.evaluation.generation import Generator
from adaptinf.evaluation.matrix import AccuracyMatrix
from stages.cli.evaluate import evaluate_model
from stages.cli.guard import guarded, umbrella
from stages.evaluation import Order, evaluate


def ignore(name: str, questions: int, done: int) -> None:
    pass


@pytest.fixture
def order(small_world, tmp_path) -> Order:
    return Order("tiny", None, ["caption", "more"], small_world, tmp_path / "out", batch_size=4)


def test_the_numbers_are_those_of_the_matrix(undisturbed, order, tmp_path):
    matrix = AccuracyMatrix.from_json((undisturbed / "matrix.json").read_text())
    names = [column.name for column in matrix.benchmarks]
    steps = [None, *(undisturbed / "steps" / s / "train" / "adapter" for s in matrix.steps[1:])]
    for row, adapter in enumerate(steps):
        ordered = replace(order, adapter=adapter, out=tmp_path / str(row), benchmarks=names)
        found = {one.benchmark: one for one in evaluate(ordered, ignore)}
        for column, name in enumerate(names):
            assert found[name].value == pytest.approx(matrix.scores[row, column])
            lines = (tmp_path / str(row) / name / "answers.jsonl").read_text().splitlines()
            texts = [json.loads(line)["text"] for line in lines]
            step = "0-base" if row == 0 else matrix.steps[row]
            file = undisturbed / "steps" / step / "evaluate" / name / "predictions.jsonl"
            assert texts == [json.loads(line)["text"] for line in file.read_text().splitlines()]


def test_batches_of_any_size_answer_the_same(order, tmp_path):
    told = []
    for size in (1, 3, 16):
        out = tmp_path / f"of-{size}"
        evaluate(replace(order, benchmarks=["caption"], batch_size=size, out=out), ignore)
        lines = (out / "caption" / "answers.jsonl").read_text().splitlines()
        told.append([json.loads(line)["text"] for line in lines])
    assert told[0] == told[1] == told[2]


def test_a_stopped_evaluation_goes_on_at_the_next_questions(order, monkeypatch, tmp_path):
    one = replace(order, benchmarks=["caption"], batch_size=1)
    whole = replace(one, out=tmp_path / "whole")
    evaluate(whole, ignore)
    asked: list[int] = []
    generate = Generator._generate

    def failing(self, benchmark, questions):
        asked.append(len(questions))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return generate(self, benchmark, questions)

    with monkeypatch.context() as patched:
        patched.setattr(Generator, "_generate", failing)
        with pytest.raises(KeyboardInterrupt):
            evaluate(one, ignore)
        asked.clear()
        asked.extend([0] * 10)
        evaluate(one, ignore)
    total = len((whole.out / "caption" / "answers.jsonl").read_text().splitlines())
    assert sum(asked[10:]) == total - 2
    files = [(o.out / "caption" / "answers.jsonl").read_bytes() for o in (one, whole)]
    assert files[0] == files[1]


def test_answers_of_another_order_are_not_taken(order, undisturbed):
    one = replace(order, benchmarks=["caption"], limit=4)
    evaluate(one, ignore)
    (adapter, *_) = sorted(undisturbed.glob("steps/*/train/adapter"))
    for other in (replace(one, adapter=adapter), replace(one, limit=5)):
        with pytest.raises(UserError, match="answers of another model, adapter or question file"):
            evaluate(other, ignore)


@pytest.fixture
def pope(tmp_path) -> Path:
    folder = tmp_path / "data" / "pope"
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(3):
        name = f"COCO_val2014_{number}.jpg"
        Image.new("RGB", (16, 16), "red").save(folder / "images" / name)
        rows.append({"question_id": number, "image": name, "text": "Is there?", "label": "yes"})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "coco_pope_random.json").write_text(lines)
    return folder


def test_a_published_benchmark_by_its_own_files(pope, tmp_path):
    app = umbrella("test")
    app.command("evaluate")(guarded(evaluate_model, ""))

    def invoke(*more: str):
        given = ["tiny", "--benchmarks", "pope", "--data-dir", str(pope.parent)]
        return CliRunner().invoke(app, ["evaluate", *given, "--out", str(tmp_path / "o"), *more])

    result = invoke("--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told[0]["benchmark"], told[0]["measure"], told[0]["items"]) == ("pope", "f1", 3)
    scores = json.loads((tmp_path / "o" / "pope" / "scores.json").read_text())
    assert scores["outcomes"]["answered"] == 3
    first = json.loads((tmp_path / "o" / "pope" / "answers.jsonl").read_text().splitlines()[0])
    assert first["question_id"] == "random/0"
    assert first["prompt"].endswith("using a single word or phrase.")
    (pope / "images" / "COCO_val2014_1.jpg").unlink()
    result = invoke()
    assert result.exit_code == 2
    assert "1 images of pope are missing" in result.output
    result = invoke("--rules", "theirs")
    assert "pope has llava and lmms" in result.output


def test_unknown_names_are_told(order):
    with pytest.raises(UserError, match="unknown benchmark"):
        evaluate(replace(order, benchmarks=["captions"]), ignore)
    with pytest.raises(UserError, match="no labels of gqa"):
        evaluate(replace(order, benchmarks=["gqa"]), ignore)
