"""Each benchmark from files in its own schema; verdicts and totals worked out by hand."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from adaptinf.errors import UserError
from adaptinf.scoring.benchmarks import BENCHMARKS
from adaptinf.scoring.files import Answers
from adaptinf.scoring.result import Result, score


def written(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def scored(name: str, labels: Path, answers: dict[str, str], rules: str | None = None) -> Result:
    benchmark = BENCHMARKS[name]
    return score(benchmark, benchmark.read(labels), Answers(answers), rules or benchmark.rules[0])


def people(*texts: str) -> list[dict[str, str]]:
    return [{"answer": text} for text in texts]


def test_vqav2(tmp_path):
    annotations = [
        {
            "question_id": 1,
            "image_id": 42,
            "answer_type": "other",
            "answers": people(*["cat"] * 10),
        },
        {
            "question_id": 2,
            "image_id": 43,
            "answer_type": "number",
            "answers": people(*["two"] * 2, *["3"] * 8),
        },
    ]
    written(tmp_path / "v2_mscoco_val2014_annotations.json", {"annotations": annotations})
    asked = [{"question_id": 1, "question": "What is it?"}, {"question_id": 2, "question": "Many?"}]
    written(tmp_path / "v2_OpenEnded_mscoco_val2014_questions.json", {"questions": asked})
    items = BENCHMARKS["vqav2"].read(tmp_path)
    assert items[0].text == "What is it?\nAnswer the question using a single word or phrase."
    assert items[0].images == ("COCO_val2014_000000000042.jpg",)
    llava = scored("vqav2", tmp_path, {"1": "Cat.", "2": "2"})
    assert llava.totals == pytest.approx(
        {"accuracy": 80, "answers number": 60, "answers other": 100}
    )
    official = scored("vqav2", tmp_path, {"1": "Cat.", "2": "2"}, "official")
    assert official.totals["accuracy"] == pytest.approx(30)
    assert official.lenient == pytest.approx(80)


def test_annotations_of_vqa_may_have_any_name(tmp_path):
    row = {"question_id": 1, "image_id": 42, "answers": people(*["cat"] * 10)}
    written(tmp_path / "mine.json", {"annotations": [row]})
    (item,) = BENCHMARKS["vqav2"].read(tmp_path / "mine.json")
    assert (item.question_id, item.right) == ("1", ["cat"] * 10)


def test_vizwiz_and_textvqa(tmp_path):
    rows = [{"image": "a.jpg", "question": "What?", "answers": people(*["tea"] * 10)}]
    rows[0]["answer_type"] = "other"
    file = written(tmp_path / "val.json", rows)
    (item,) = BENCHMARKS["vizwiz"].read(tmp_path)
    assert "respond with 'Unanswerable'" in item.text
    assert scored("vizwiz", file, {"0": "the tea"}).totals["accuracy"] == 100
    data = [{"question_id": 5, "image_id": "x", "question": "Brand?", "answers": ["dell"] * 10}]
    file = written(tmp_path / "TextVQA_0.5.1_val.json", {"data": data})
    assert scored("textvqa", file, {"5": "Dell"}).totals["accuracy"] == 100


def test_textvqa_is_asked_with_llavas_prompts_where_they_are(tmp_path):
    data = [{"question_id": 5, "image_id": "x", "question": "What Brand?", "answers": ["dell"]}]
    data.append({**data[0], "question_id": 6, "image_id": "y"})
    written(tmp_path / "TextVQA_0.5.1_val.json", {"data": data})
    ask = "\nAnswer the question using a single word or phrase."
    plain = BENCHMARKS["textvqa"].read(tmp_path)
    assert [item.text for item in plain] == [f"What Brand?{ask}"] * 2
    prompts = [
        {"question_id": image, "text": f"what brand?\nReference OCR token: {words}{ask}"}
        for image, words in (("y", ""), ("x", "DELL, XPS"))
    ]
    file = lines(tmp_path / "llava_textvqa_val_v051_ocr.jsonl", prompts)
    five, six = BENCHMARKS["textvqa"].read(tmp_path)
    assert (five.question_id, five.text) == ("5", prompts[1]["text"])
    assert (six.question_id, six.text) == ("6", prompts[0]["text"])
    lines(file, prompts[:1])
    with pytest.raises(UserError, match="no prompt for question 5"):
        BENCHMARKS["textvqa"].read(tmp_path)


def test_gqa(tmp_path):
    row = {"question": "Colour?", "imageId": "7", "answer": "red", "types": {"structural": "query"}}
    file = written(tmp_path / "testdev_balanced_questions.json", {"1": row, "2": row, "3": row})
    answers = {"1": "Red.", "2": "red!", "3": "blue"}
    found = scored("gqa", file, answers)
    assert found.totals == pytest.approx({"accuracy": 100 / 3, "questions query": 100 / 3})
    assert found.lenient == pytest.approx(200 / 3)
    assert scored("gqa", file, answers, "lmms").totals["accuracy"] == pytest.approx(200 / 3)


def test_scienceqa(tmp_path):
    row = {"question": "Which?", "choices": ["cat", "bus"], "answer": 1, "hint": "Look."}
    row |= {"image": "image.png", "subject": "natural science"}
    written(tmp_path / "problems.json", {"1": row, "2": {**row, "image": None, "hint": ""}})
    written(tmp_path / "pid_splits.json", {"test": ["1", "2"]})
    seen, text = BENCHMARKS["scienceqa"].read(tmp_path)
    ask = "Answer with the option's letter from the given choices directly."
    assert seen.text == f"Context: Look.\nWhich?\nA. cat\nB. bus\n{ask}"
    assert (seen.images, text.images) == (("test/1/image.png",), ())
    found = scored("scienceqa", tmp_path, {"1": "b", "2": "B"})
    assert found.totals["accuracy"] == 50
    assert (found.totals["kind image"], found.totals["kind text"]) == (0, 100)
    assert found.lenient == 100
    assert found.outcomes.unread == 1
    assert scored("scienceqa", tmp_path, {"1": "b", "2": "B"}, "lmms").totals["accuracy"] == 100


def test_mmbench_counts_a_question_if_all_its_copies_are_right(tmp_path):
    head = [
        "index",
        "question",
        "hint",
        "A",
        "B",
        "C",
        "D",
        "answer",
        "category",
        "l2-category",
        "image",
    ]
    rows = [
        ["1", "Which?", "nan", "cat", "bus", "", "", "A", "objects", "seeing", "aGk="],
        ["1000001", "Which?", "", "bus", "cat", "", "", "B", "objects", "seeing", "aGk="],
        ["2", "What?", "Look.", "a", "b", "c", "d", "D", "words", "reading", "aGk="],
    ]
    file = tmp_path / "mmbench_dev_20230712.tsv"
    file.write_text("\n".join("\t".join(row) for row in [head, *rows]) + "\n")
    items = BENCHMARKS["mmbench"].read(file)
    assert items[0].text.startswith("Which?\nA. cat\nB. bus\nAnswer")
    assert items[2].text.startswith("Look.\nWhat?\nA. a")
    found = scored("mmbench", file, {"1": "A", "1000001": "A", "2": "(D)"})
    assert found.totals == {
        "circular accuracy": 50,
        "vanilla accuracy": 100,
        "l2-category reading": 100,
        "l2-category seeing": 0,
        "category objects": 0,
        "category words": 100,
    }


def test_seed_mmlu_and_aokvqa(tmp_path):
    row = {"question_id": "v1", "question": "Q?", "answer": "B", "data_id": "x"}
    row |= {"data_type": "image", "question_type_id": 1}
    row |= {f"choice_{x}": f"option {x}" for x in "abcd"}
    content = {"questions": [row], "question_type": {"Scene": 1}}
    file = written(tmp_path / "SEED-Bench.json", content)
    assert scored("seed", file, {"v1": "B. option b"}).totals["accuracy"] == 0
    assert scored("seed", file, {"v1": "B. option b"}).lenient == 100
    assert scored("seed", file, {"v1": "B. option b"}, "lmms").totals["type Scene"] == 100
    table = pa.table(
        {"question": ["Q?"], "subject": ["law"], "choices": [["a", "b", "c", "d"]], "answer": [2]}
    )
    pq.write_table(table, tmp_path / "validation-0.parquet")
    assert scored("mmlu", tmp_path, {"0": "c."}).totals == {"accuracy": 100, "subject law": 100}
    rows = [{"question_id": "q", "question": "Q?", "image_id": 7}]
    rows[0] |= {"choices": ["red", "blue"], "correct_choice_idx": 1}
    file = written(tmp_path / "aokvqa_v1p0_val.json", rows)
    assert scored("aokvqa", file, {"q": "b"}).totals["accuracy"] == 100
    assert scored("aokvqa", file, {"q": "b"}, "official").totals["accuracy"] == 0
    assert scored("aokvqa", file, {"q": "blue"}, "official").totals["accuracy"] == 100


def test_mmmu(tmp_path):
    rows = [
        {
            "id": "validation_Art_1",
            "question": "Which <image 1> is it?",
            "options": "['red car', 'blue bus']",
            "answer": "B",
            "question_type": "multiple-choice",
        },
        {
            "id": "validation_Math_2",
            "question": "How many?",
            "options": "[]",
            "answer": "['7', 'seven']",
            "question_type": "open",
        },
    ]
    (tmp_path / "Art").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "Art" / "validation-0.parquet")
    items = BENCHMARKS["mmmu"].read(tmp_path)
    assert items[0].text.startswith("Which is it?\n\n(A) red car\n(B) blue bus\n\n")
    answers = {"validation_Art_1": "(B)", "validation_Math_2": "The answer is 7.0"}
    assert scored("mmmu", tmp_path, answers).totals == {
        "accuracy": 100,
        "subject Art": 100,
        "subject Math": 100,
    }


def test_pope(tmp_path):
    def rows(*labels: str) -> list[dict]:
        return [
            {"question_id": n, "image": "a.jpg", "text": "Is there?", "label": label}
            for n, label in enumerate(labels, 1)
        ]

    lines(tmp_path / "coco_pope_random.json", rows("yes", "no"))
    lines(tmp_path / "coco_pope_popular.json", rows("yes", "no"))
    answers = {"random/1": "Yes", "random/2": "No", "popular/1": "Yes", "popular/2": "Yes."}
    found = scored("pope", tmp_path, answers)
    assert found.totals["random f1"] == 100
    assert found.totals["popular f1"] == pytest.approx(200 / 3)
    assert found.totals["f1"] == pytest.approx(250 / 3)
    assert found.totals["popular yes_share"] == 100
    missing = scored("pope", tmp_path, {"random/1": "Yes"})
    assert missing.totals["random accuracy"] == 50
    assert missing.outcomes.missing == 3
    order = [
        {"question_id": n, "category": c} for n, c in enumerate(["random"] * 2 + ["popular"] * 2)
    ]
    lines(tmp_path / "llava_pope_test.jsonl", order)
    theirs = {"0": "Yes", "1": "No", "2": "Yes", "3": "Yes."}
    assert scored("pope", tmp_path, theirs).totals == found.totals
    lines(tmp_path / "llava_pope_test.jsonl", order[:-1])
    with pytest.raises(UserError, match="1 questions of popular, where there are 2 labels"):
        BENCHMARKS["pope"].read(tmp_path)


def test_mme(tmp_path):
    folder = tmp_path / "existence"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.jpg").touch()
        ask = "Is it? Please answer yes or no."
        (folder / f"{name}.txt").write_text(f"{ask}\tYes\n{ask}\tNo\n")
    texts = tmp_path / "posters" / "questions_answers_YN"
    texts.mkdir(parents=True)
    (tmp_path / "posters" / "images").mkdir()
    (tmp_path / "posters" / "images" / "p.png").touch()
    (texts / "p.txt").write_text("Is it?\tYes\nIs it?\tNo\n")
    items = BENCHMARKS["mme"].read(tmp_path)
    assert items[0].text == "Is it?\nAnswer the question using a single word or phrase."
    assert items[-1].images == ("posters/images/p.png",)
    answers = {
        "existence/a/1": "Yes",
        "existence/a/2": "no.",
        "existence/b/1": "yes",
        "existence/b/2": "yes",
    }
    found = scored("mme", tmp_path, answers)
    # One image both right, one of the other's right: 75 + 50, as in the golden value.
    assert found.totals["existence"] == 125
    assert (found.totals["perception"], found.totals["cognition"]) == (125, 0)
    (texts / "p.txt").write_text("Is it? Yes\n")
    with pytest.raises(UserError, match=r"p.txt:1: expected a question, a tab"):
        BENCHMARKS["mme"].read(tmp_path)


def test_captions(tmp_path):
    texts = {1: ["A man rides a wave.", "A surfer on a wave."], 2: ["A dog on a couch."]}
    content = {
        "images": [{"id": n, "file_name": f"{n}.jpg"} for n in texts],
        "annotations": [
            {"id": n, "image_id": image, "caption": text}
            for image, captions in texts.items()
            for n, text in enumerate(captions)
        ],
    }
    file = written(tmp_path / "captions_val2014.json", content)
    right = scored("coco_captions", file, {"1": texts[1][0], "2": "a dog on a couch"})
    assert right.totals["BLEU-4"] == pytest.approx(100, abs=1e-3)
    assert right.totals["ROUGE-L"] == pytest.approx(100)
    assert right.totals["CIDEr"] > scored("coco_captions", file, {"2": "a cat"}).totals["CIDEr"]
    rows = [
        {
            "id": "1",
            "image": "a.jpg",
            "conversations": [{"value": "<image>\n描述"}, {"value": "狗"}],
        }
    ]
    file = written(tmp_path / "cn.json", rows)
    assert scored("chinese_captions", file, {"1": ""}).totals == {"BLEU-4 over characters": 0}


def test_refcoco(tmp_path):
    row = {
        "ref_id": 5,
        "sentences": [{"sent": "left cat"}, {"sent": "the cat"}],
        "bbox": [100.0, 120.0, 300.0, 360.0],
        "image_path": "coco/train2014/a.jpg",
        "raw_image_info": json.dumps({"width": 640, "height": 480}),
    }
    file = tmp_path / "testA-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist([row]), file)
    original, padded = "[0.16, 0.25, 0.47, 0.75]", "[0.16, 0.31, 0.47, 0.69]"
    both = {"5-0": original, "5-1": padded}
    assert scored("refcoco", tmp_path, {"5-0": original}).totals["accuracy at IoU 0.5"] == 50
    assert scored("refcoco", file, both).lenient == 100
    assert scored("refcoco", file, {"5-1": padded}, "padded").totals["accuracy at IoU 0.5"] == 50
    first = scored("refcoco", file, {"5-0": original, "5-1": "no"}, "adapt-inf")
    assert first.totals == {"accuracy at IoU 0.5": 100, "no box": 0}
    assert scored("refcoco", file, {"5-0": "no idea"}).totals["no box"] == 100


def test_targets_video_and_transcription(tmp_path):
    row = {"unique_id": "1", "image_path": "a.png", "prompt": "Q? [Options] a", "target": "yes"}
    file = lines(tmp_path / "t.jsonl", [row])
    (item,) = BENCHMARKS["targets"].read(file)
    assert item.text == "Q? Options a"
    found = scored("targets", file, {"1": "Well, yes it is"})
    assert found.totals == {"accuracy": 0, "contains": 100}
    text = scored("transcription", file, {"1": "yep"})
    assert text.totals == pytest.approx({"1-NED": 200 / 3, "exact": 0})
    conversation = [{"value": "<image>\nWho?"}, {"value": "A man."}]
    file = written(
        tmp_path / "v.json", [{"id": 3, "image": ["1.jpg"], "conversations": conversation}]
    )
    assert scored("video", file, {"3": "the man"}).totals["accuracy"] == 100


@pytest.mark.parametrize("name", BENCHMARKS)
def test_labels_that_are_none_are_told(tmp_path, name):
    benchmark = BENCHMARKS[name]
    with pytest.raises(UserError):
        benchmark.read(tmp_path)
    suffix = {"mmbench": ".tsv", "mme": "", "refcoco": ".parquet", "mmlu": ".parquet"}
    suffix |= {"mmmu": ".parquet", "targets": ".jsonl", "transcription": ".jsonl"}
    file = tmp_path / f"labels{suffix.get(name, '.json')}"
    file.write_text('[{"a": 1}]\n')
    with pytest.raises(UserError):
        benchmark.read(file)


def picture(colour: str) -> bytes:
    raw = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(raw, "PNG")
    return raw.getvalue()


def test_images_inside_the_labels_are_written(tmp_path):
    red, blue = picture("red"), picture("blue")
    text = base64.b64encode(red).decode()
    rows = ["index\tquestion\tA\tB\tanswer\timage"]
    rows += [f"1\tQ?\ta\tb\tA\t{text}", "1000001\tQ?\tb\ta\tB\t1"]
    file = tmp_path / "mmbench_dev.tsv"
    file.write_text("\n".join(rows) + "\n")
    mmbench = BENCHMARKS["mmbench"]
    mmbench.pictures(file, tmp_path / "mmbench")
    names = [name for item in mmbench.read(file) for name in item.images]
    assert [(tmp_path / "mmbench" / name).read_bytes() for name in names] == [red, red]
    file.write_text(f"{rows[0]}\n../up\tQ?\ta\tb\tA\t{text}\n")
    with pytest.raises(UserError, match="not a name for an image"):
        mmbench.pictures(file, tmp_path / "mmbench")
    file.write_text(f"{rows[0]}\n1\tQ?\ta\tb\tA\tno base64\n")
    with pytest.raises(UserError, match="index 1: an image that is not base64"):
        mmbench.pictures(file, tmp_path / "mmbench")

    row = {"id": "validation_Art_1", "question": "<image 1> Q?", "options": "['a', 'b']"}
    row |= {"answer": "A", "question_type": "multiple-choice", "image_1": {"bytes": blue}}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "validation-0.parquet")
    mmmu = BENCHMARKS["mmmu"]
    mmmu.pictures(tmp_path, tmp_path / "mmmu")
    (item,) = mmmu.read(tmp_path)
    assert (tmp_path / "mmmu" / item.images[0]).read_bytes() == blue
