"""``adaptinf evaluate``: the numbers of a run's matrix outside of it, resumable and guarded."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from adaptinf.errors import UserError
from adaptinf.evaluation.generation import Generator
from adaptinf.evaluation.matrix import AccuracyMatrix
from adaptinf.scoring.words import normalised
from stages.cli.evaluate import evaluate_model
from stages.cli.guard import guarded, umbrella
from stages.evaluation import Order, Scored, Unscored, evaluate
from stages.scores import listed
from tests.conftest import ROOT, TORCHRUN


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


def asked_of(folder: Path, questions: int) -> Path:
    """A split of VQAv2 without labels, with its images."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(questions):
        name = f"COCO_test2015_{number:012}.jpg"
        Image.new("RGB", (16, 16), ("red", "blue")[number % 2]).save(folder / "images" / name)
        words = " ".join(["big"] * number)
        rows.append({"image_id": number, "question_id": number, "question": f"A {words} dog?"})
    content = {"data_subtype": "test-dev2015", "questions": rows}
    (folder / "v2_OpenEnded_mscoco_test-dev2015_questions.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def secret(tmp_path) -> Order:
    """Five questions whose labels a server keeps, in three batches."""
    asked_of(tmp_path / "data" / "vqav2", 5)
    return Order("tiny", None, ["vqav2"], tmp_path / "data", tmp_path / "out", batch_size=2)


def test_a_split_without_labels_is_answered_and_not_scored(secret):
    outcomes = evaluate(secret, ignore)
    folder = secret.out / "vqav2"
    (one,) = outcomes
    assert isinstance(one, Unscored)
    told = {"benchmark": "vqav2", "items": 5, "why": "no labels: nothing scored"}
    assert json.loads((folder / "scores.json").read_text()) == told
    upload = {"file": str(folder / "upload.json"), "note": ""}
    assert json.loads(listed(outcomes, as_json=True)) == [told | {"upload": upload}]
    table = listed(outcomes)
    assert "no labels: nothing scored" in table
    assert table.splitlines()[-1] == f"upload file: {folder / 'upload.json'}"
    texts = [json.loads(line)["text"] for line in (folder / "answers.jsonl").open()]
    rows = json.loads((folder / "upload.json").read_text())
    assert [row["question_id"] for row in rows] == [0, 1, 2, 3, 4]
    assert rows[1]["answer"] == normalised(texts[1])


def test_what_a_judge_has_to_value_is_answered_and_what_follows_is_scored(pope, tmp_path):
    folder = tmp_path / "data" / "mmvet"
    (folder / "images").mkdir(parents=True)
    Image.new("RGB", (16, 16), "red").save(folder / "images" / "v1_0.png")
    row = {"imagename": "v1_0.png", "question": "What?", "answer": "A box", "capability": ["rec"]}
    (folder / "mm-vet.json").write_text(json.dumps({"v1_0": row}))
    order = Order("tiny", None, ["mmvet", "pope"], tmp_path / "data", tmp_path / "out")
    judged, scored = evaluate(order, ignore)
    assert isinstance(judged, Unscored)
    assert judged.why == "a judge is wanted: adaptinf score --judge"
    assert isinstance(scored, Scored)
    answer = json.loads((tmp_path / "out" / "mmvet" / "answers.jsonl").read_text())
    assert answer["question_id"] == "v1_0"


def test_the_upload_of_a_part_is_not_written(secret):
    (one,) = evaluate(replace(secret, limit=4), ignore)
    assert (one.items, one.upload) == (4, None)
    assert not (secret.out / "vqav2" / "upload.json").exists()


def test_labels_of_some_questions_stop_before_any_answer(secret):
    row = {"question_id": 1, "image_id": 1, "answers": [{"answer": "dog"}] * 10}
    content = {"annotations": [row, {"question_id": 2, "image_id": 2}]}
    labels = secret.data_dir / "vqav2" / "v2_mscoco_test2015_annotations.json"
    labels.write_text(json.dumps(content))
    with pytest.raises(UserError, match="1 questions have labels and 1 have none"):
        evaluate(secret, ignore)
    assert not secret.out.exists()


def test_a_scored_benchmark_has_its_upload_beside_its_score(tmp_path):
    folder = tmp_path / "data" / "mme" / "existence"
    folder.mkdir(parents=True)
    Image.new("RGB", (16, 16), "red").save(folder / "a.jpg")
    (folder / "a.txt").write_text("Is it?  Please answer yes or no.\tYes\nNot?\tNo\n")
    order = Order("tiny", None, ["mme"], tmp_path / "data", tmp_path / "out")
    (one,) = evaluate(order, ignore)
    assert isinstance(one, Scored)
    assert one.upload.file == str(order.out / "mme" / "upload")
    first, second = (order.out / "mme" / "upload" / "existence.txt").read_text().splitlines()
    assert first.startswith("a.jpg\tIs it?  Please answer yes or no.\tYes\t")
    assert second.startswith("a.jpg\tNot?\tNo\t")


def launched(order: Order) -> subprocess.CompletedProcess:
    """The command under torchrun, with two ranks."""
    program = str(Path(sys.executable).parent / "adaptinf")
    given = ["evaluate", order.model, "--benchmarks", ",".join(order.benchmarks)]
    given += ["--data-dir", str(order.data_dir), "--out", str(order.out)]
    given += ["--batch-size", str(order.batch_size)]
    return subprocess.run(
        [*TORCHRUN, "--no-python", program, *given],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=300,
    )


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def test_two_ranks_answer_as_one_and_go_on_where_one_has_stopped(secret, pope):
    both = replace(secret, benchmarks=["vqav2", "pope"])
    one, two = (replace(both, out=both.out / name) for name in ("one", "two"))
    evaluate(one, ignore)

    def interrupting(name: str, questions: int, done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(two, interrupting)
    partial = two.out / "vqav2" / "answers.partial.jsonl"
    assert len(partial.read_text().splitlines()) == 2
    done = launched(two)
    assert done.returncode == 0, done.stderr
    assert "vqav2: 2 of 5" in done.stderr  # taken from the one rank
    assert done.stdout.count("no labels: nothing scored") == 1
    assert len(contents(one.out)) == 7
    assert contents(one.out) == contents(two.out)
    # Nothing is left to do for any number of ranks.
    assert launched(two).stdout == done.stdout


def test_one_rank_goes_on_where_two_have_stopped(secret):
    one, two = (replace(secret, out=secret.out / name) for name in ("one", "two"))
    evaluate(one, ignore)
    answers = [json.loads(line)["text"] for line in (one.out / "vqav2" / "answers.jsonl").open()]

    def interrupting(name: str, questions: int, done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(two, interrupting)
    # The batch of the second rank, as it would have been left beside that of the first.
    left = [json.dumps({"item": item, "text": answers[item]}) + "\n" for item in (2, 3)]
    (two.out / "vqav2" / "answers.partial.1.jsonl").write_text("".join(left))
    told: list[int] = []
    evaluate(two, lambda name, questions, done: told.append(done))
    assert told == [4, 5]
    assert contents(one.out) == contents(two.out)


def test_a_mistake_is_told_once_for_all_ranks(secret):
    (secret.data_dir / "vqav2" / "images" / "COCO_test2015_000000000001.jpg").unlink()
    done = launched(secret)
    assert done.returncode != 0
    assert done.stderr.count("1 images of vqav2 are missing") == 1
