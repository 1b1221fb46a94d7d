"""Upload files as servers and official tools read them, and splits without labels."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from adaptinf.errors import UserError
from adaptinf.scoring.benchmarks import BENCHMARKS
from adaptinf.scoring.files import Answers
from adaptinf.scoring.items import Files
from adaptinf.scoring.result import read_items, score, score_files
from adaptinf.scoring.spreadsheet import spreadsheet
from adaptinf.scoring.uploads import upload_files
from stages.cli.guard import guarded, umbrella
from stages.cli.score import score_answers
from tests.scoring.test_benchmarks import lines, written


def uploaded(name: str, labels: Path, answers: dict[str, str]) -> Files:
    benchmark = BENCHMARKS[name]
    return upload_files(benchmark, read_items(benchmark, labels), Answers(answers))


def parsed(name: str, labels: Path, answers: dict[str, str]) -> object:
    files = uploaded(name, labels, answers)
    assert list(files.contents) == [""]
    return json.loads(files.contents[""])


def cells(raw: bytes) -> list[dict[str, str]]:
    """Rows of the sheet by the letters of their columns, as they stand in its XML."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        assert archive.testzip() is None
        for name in archive.namelist():
            ElementTree.fromstring(archive.read(name))
        sheet = ElementTree.fromstring(archive.read("xl/worksheets/sheet1.xml"))
    space = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    rows = []
    for number, row in enumerate(sheet.iter(f"{space}row"), 1):
        found = {}
        for cell in row:
            place = cell.attrib["r"]
            assert place.endswith(str(number))
            kind = cell.attrib.get("t", "number")
            found[place.removesuffix(str(number))] = f"{kind}:{''.join(cell.itertext())}"
        rows.append(found)
    return rows


def vqav2_test_dev(folder: Path) -> Path:
    asked = [
        {"image_id": 42, "question": "What is it?", "question_id": 42000},
        {"image_id": 1, "question": "How many?", "question_id": 1001},
    ]
    content = {"data_subtype": "test-dev2015", "questions": asked}
    return written(folder / "v2_OpenEnded_mscoco_test-dev2015_questions.json", content)


def test_vqav2_on_test_dev(tmp_path):
    vqav2_test_dev(tmp_path)
    first, second = BENCHMARKS["vqav2"].read(tmp_path)
    assert first.text == "What is it?\nAnswer the question using a single word or phrase."
    assert first.images == ("COCO_test2015_000000000042.jpg",)
    assert (first.right, second.right) == (None, None)
    # In the order of the questions, normalised, answers to questions of other splits left out.
    told = parsed("vqav2", tmp_path, {"1001": "Two.", "7": "other", "42000": "The dog's"})
    assert told == [
        {"question_id": 42000, "answer": "dog 's"},
        {"question_id": 1001, "answer": "2"},
    ]


@pytest.mark.parametrize(
    ("told", "name", "split"),
    [
        ("test2015", "q_questions.json", "test2015"),
        (None, "v2_OpenEnded_mscoco_test-dev2015_questions.json", "test2015"),
        ("val2014", "q_questions.json", "val2014"),
        ("train2014", "q_questions.json", "train2014"),
        (None, "q_questions.json", "val2014"),
    ],
)
def test_images_of_vqa_are_those_of_the_split(tmp_path, told, name, split):
    content: dict = {"questions": [{"image_id": 5, "question": "Q?", "question_id": 1}]}
    if told:
        content["data_subtype"] = told
    (item,) = BENCHMARKS["vqav2"].read(written(tmp_path / name, content))
    assert item.images == (f"COCO_{split}_000000000005.jpg",)


def test_vizwiz_textvqa_and_gqa(tmp_path):
    rows = [{"image": f"VizWiz_test_{n}.jpg", "question": "What?"} for n in range(2)]
    written(tmp_path / "vizwiz" / "test.json", rows)
    told = parsed("vizwiz", tmp_path / "vizwiz", {"0": "Unanswerable", "1": "a Coke, can"})
    assert told == [
        {"image": "VizWiz_test_0.jpg", "answer": "unanswerable"},
        {"image": "VizWiz_test_1.jpg", "answer": "coke can"},
    ]
    data = [{"question_id": 5, "image_id": "x", "question": "Brand?"}]
    written(tmp_path / "textvqa" / "TextVQA_0.5.1_test.json", {"data": data})
    told = parsed("textvqa", tmp_path / "textvqa", {"5": "Dell!"})
    assert told == [{"question_id": 5, "answer": "dell"}]
    rows = {"201": {"question": "Colour?", "imageId": "7"}}
    file = written(tmp_path / "test_balanced_questions.json", rows)
    assert parsed("gqa", file, {"201": "Red."}) == [{"questionId": "201", "prediction": "red"}]


def test_captions(tmp_path):
    images = [{"id": 9, "file_name": "COCO_test2014_000000000009.jpg"}, {"id": 3}]
    file = written(tmp_path / "image_info_test2014.json", {"images": images})
    first, _ = BENCHMARKS["coco_captions"].read(file)
    assert (first.images, first.right) == (("COCO_test2014_000000000009.jpg",), None)
    told = parsed("coco_captions", file, {"3": "A café.", "9": "A dog."})
    assert told == [{"image_id": 9, "caption": "A dog."}, {"image_id": 3, "caption": "A café."}]


def test_aokvqa_takes_options_alone(tmp_path):
    row = {"question": "Q?", "image_id": 7, "choices": ["red car", "bus", "a", "dog"]}
    rows = [{**row, "question_id": name} for name in ("letter", "words", "own", "unread")]
    file = written(tmp_path / "aokvqa_v1p0_test.json", rows)
    answers = {"letter": "B", "words": "Red car.", "own": "a", "unread": "a large dogg"}
    files = uploaded("aokvqa", file, answers)
    assert json.loads(files.contents[""]) == {
        "letter": {"multiple_choice": "bus"},
        "words": {"multiple_choice": "red car"},
        "own": {"multiple_choice": "a"},
        "unread": {"multiple_choice": "dog"},
    }
    assert files.note == "1 answers name no option; the one nearest in spelling stands for them"
    del answers["unread"]
    written(file, rows[:3])
    assert uploaded("aokvqa", file, answers).note == ""


def test_seed(tmp_path):
    row = {"question": "Q?", "data_id": "x", "data_type": "image"}
    row |= {f"choice_{x}": f"option {x}" for x in "abcd"}
    rows = [{**row, "question_id": "v1"}, {**row, "question_id": "2"}]
    file = written(tmp_path / "SEED-Bench.json", {"questions": rows})
    files = uploaded("seed", file, {"2": "C", "v1": "B. option b"})
    assert files.contents[""] == (
        b'{"question_id": "v1", "prediction": "B. option b"}\n'
        b'{"question_id": "2", "prediction": "C"}\n'
    )


def mmmu_test(folder: Path) -> Path:
    choice = {"question": "<image 1> Q?", "options": "['red car', 'blue bus']", "answer": "?"}
    choice["question_type"] = "multiple-choice"
    rows = [
        {**choice, "id": "test_Art_1"},
        {**choice, "id": "test_Art_2"},
        {**choice, "id": "test_Art_Theory_3", "options": "[]", "question_type": "open"},
    ]
    (folder / "Art").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "Art" / "test-00000-of-00001.parquet")
    return folder


def test_mmmu(tmp_path):
    folder = mmmu_test(tmp_path)
    items = BENCHMARKS["mmmu"].read(folder)
    assert [item.right for item in items] == [None] * 3
    assert [item.groups["subject"] for item in items] == ["Art", "Art", "Art_Theory"]
    answers = {"test_Art_1": "(B) blue bus", "test_Art_2": "no idea", "test_Art_Theory_3": "7.0 m"}
    assert parsed("mmmu", folder, answers) == {
        "test_Art_1": "B",
        "test_Art_2": "no idea",
        "test_Art_Theory_3": "7.0 m",
    }


def test_mmbench(tmp_path):
    rows = [
        "index\tquestion\thint\tA\tB\tC\tD\tcategory\timage\tsplit",
        "7\tWhich <one>?\tnan\tcat\tbus\tnan\t\tobjects\taGk=\ttest",
        "1000007\t=1+1\tLook & see\tbus\tcat\t\t\tobjects\t7\ttest",
    ]
    file = tmp_path / "mmbench_test_en_20231003.tsv"
    file.write_text("\n".join(rows) + "\n")
    answers = {"7": "A. cat", "1000007": "say \x08 B"}
    assert [item.right for item in BENCHMARKS["mmbench"].read(file)] == [None, None]
    raw = uploaded("mmbench", file, answers).contents[""]
    head, first, turned = cells(raw)
    names = ["index", "question", "hint", *"ABCD", "prediction", "category", "split"]
    assert list(head.values()) == [f"inlineStr:{name}" for name in names]
    # Nothing stands where the file has nan, and nothing is a formula.
    assert first == {
        "A": "number:7",
        "B": "inlineStr:Which <one>?",
        "D": "inlineStr:cat",
        "E": "inlineStr:bus",
        "H": "inlineStr:A. cat",
        "I": "inlineStr:objects",
        "J": "inlineStr:test",
    }
    assert (turned["B"], turned["C"]) == ("inlineStr:=1+1", "inlineStr:Look & see")
    assert (turned["A"], turned["H"]) == ("number:1000007", "inlineStr:say  B")
    assert raw == uploaded("mmbench", file, answers).contents[""]


def test_mmbench_where_llava_has_the_prediction(tmp_path):
    """LLaVA drops these columns first and inserts at the seventh place."""
    file = tmp_path / "mmbench_dev.tsv"
    file.write_text("index\tquestion\tA\tB\tC\tD\tanswer\n1\tQ?\ta\tb\tc\td\tB\n")
    head, row = cells(uploaded("mmbench", file, {"1": "B"}).contents[""])
    assert head["G"] == "inlineStr:prediction"
    assert (row["G"], row["H"]) == ("inlineStr:B", "inlineStr:B")


def test_cells_of_any_length_and_column():
    (row,) = cells(spreadsheet([["x" * 40_000, *("" for _ in range(25)), "AA", 3]]))
    assert len(row["A"]) == len("inlineStr:") + 32_767
    assert {place: row[place] for place in list(row)[1:]} == {
        "AA": "inlineStr:AA",
        "AB": "number:3",
    }


def mme(folder: Path) -> Path:
    ask = "Is it red?  Please answer yes or no."
    (folder / "existence").mkdir(parents=True)
    texts = folder / "posters" / "questions_answers_YN"
    texts.mkdir(parents=True)
    (folder / "posters" / "images").mkdir()
    (folder / "posters" / "images" / "p.png").touch()
    (folder / "existence" / "0001.jpg").touch()
    (folder / "existence" / "0001.txt").write_text(f"{ask}\tYes\nIs it?\tNo\n")
    (texts / "p.txt").write_text("Is it?\tYes\nIs it not?\tNo\n")
    return folder


MME_ANSWERS = {
    "posters/p/2": "No",
    "posters/p/1": "Yes\tindeed\nand so on",
    "existence/0001/1": "yes",
    "existence/0001/2": "",
}


def test_mme(tmp_path):
    files = uploaded("mme", mme(tmp_path), MME_ANSWERS)
    assert files.contents == {
        "existence.txt": b"0001.jpg\tIs it red?  Please answer yes or no.\tYes\tyes\n"
        b"0001.jpg\tIs it?\tNo\t\n",
        "posters.txt": b"p.png\tIs it?\tYes\tYes indeed and so on\np.png\tIs it not?\tNo\tNo\n",
    }
    (tmp_path / "existence" / "0001.txt").write_text("Is it?\tYes\n")
    with pytest.raises(UserError, match=r"1 images have not two.*existence/0001"):
        uploaded("mme", tmp_path, MME_ANSWERS)


def unlabelled(folder: Path) -> dict[str, Path]:
    """A split without labels of the other benchmarks that have label fields."""
    folder.mkdir(exist_ok=True)
    choice = {"question": "Q?", "choices": ["a", "b"], "hint": "", "image": None}
    written(folder / "sqa" / "problems.json", {"1": choice})
    written(folder / "sqa" / "pid_splits.json", {"test": ["1"]})
    table = pa.table({"question": ["Q?"], "subject": ["law"], "choices": [["a", "b"]]})
    pq.write_table(table, folder / "test.parquet")
    pope = {"question_id": 1, "image": "a.jpg", "text": "Is there?"}
    target = {"unique_id": "1", "image_path": "a.png", "prompt": "Q?"}
    talk = [{"id": "1", "image": "a.jpg", "conversations": [{"value": "<image>\nQ?"}]}]
    return {
        "scienceqa": folder / "sqa",
        "mmlu": folder / "test.parquet",
        "pope": lines(folder / "coco_pope_random.json", [pope]),
        "targets": lines(folder / "targets.jsonl", [target]),
        "transcription": folder / "targets.jsonl",
        "video": written(folder / "talk.json", talk),
        "chinese_captions": folder / "talk.json",
    }


def test_nothing_without_a_label_is_scored(tmp_path):
    for name, file in unlabelled(tmp_path).items():
        (item,) = BENCHMARKS[name].read(file)
        assert item.right is None
        answers = Answers({item.question_id: "a"})
        with pytest.raises(UserError, match="no labels: nothing scored"):
            score(BENCHMARKS[name], [item], answers, BENCHMARKS[name].rules[0])
        with pytest.raises(UserError, match="no upload form"):
            upload_files(BENCHMARKS[name], [item], answers)


def half_vizwiz(folder: Path) -> Path:
    row = {"image": "a.jpg", "question": "What?"}
    people = [{"answer": "tea"}] * 10
    return written(folder / "val.json", [row, {**row, "answers": people}, row])


def half_mmbench(folder: Path) -> Path:
    file = folder / "mmbench_dev.tsv"
    rows = "index\tquestion\tA\tB\tanswer\n1\tQ?\ta\tb\tA\n2\tQ?\ta\tb\t\n3\tQ?\ta\tb\tnan\n"
    file.write_text(rows)
    return file


def half_captions(folder: Path) -> Path:
    images = [{"id": number} for number in (1, 2, 3)]
    content = {"images": images, "annotations": [{"image_id": 2, "caption": "A dog."}]}
    return written(folder / "captions_val2014.json", content)


@pytest.mark.parametrize(
    ("name", "half", "bare"),
    [
        ("vizwiz", half_vizwiz, "0, 2"),
        ("mmbench", half_mmbench, "2, 3"),
        ("coco_captions", half_captions, "1, 3"),
    ],
)
def test_labels_of_some_questions_are_counted(
    tmp_path, name: str, half: Callable[[Path], Path], bare: str
):
    labels = half(tmp_path)
    ids = [item.question_id for item in BENCHMARKS[name].read(labels)]
    answers = lines(tmp_path / "a.jsonl", [{"question_id": i, "text": "tea"} for i in ids])
    with pytest.raises(UserError, match=rf"1 questions have labels and 2 have none.*'{bare}'"):
        score_files(name, answers, labels)


@pytest.fixture
def invoke():
    app = umbrella("test")
    app.command("score")(guarded(score_answers, ""))

    def call(name: str, answers: Path, labels: Path, *more: object):
        given = ["--benchmark", name, "--answers", answers, "--labels", labels, *more]
        return CliRunner().invoke(app, ["score", *map(str, given)])

    return call


def test_the_command_on_a_split_without_labels(invoke, tmp_path):
    labels = vqav2_test_dev(tmp_path / "labels")
    rows = [{"question_id": ident, "text": "Yes."} for ident in (42000, 1001)]
    answers, out = lines(tmp_path / "a.jsonl", rows), tmp_path / "new" / "up.json"
    refused = invoke("vqav2", answers, labels)
    assert refused.exit_code == 2
    assert "no labels: nothing scored" in refused.output
    assert "--upload FILE" in refused.output
    done = invoke("vqav2", answers, labels, "--upload", out)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines() == [
        "vqav2: 2 questions",
        "no labels: nothing scored",
        f"upload file: {out}",
    ]
    assert json.loads(out.read_text())[1] == {"question_id": 1001, "answer": "yes"}
    told = json.loads(invoke("vqav2", answers, labels, "--upload", out, "--json").output)
    assert told == {
        "benchmark": "vqav2",
        "items": 2,
        "why": "no labels: nothing scored",
        "upload": {"file": str(out), "note": ""},
    }


def test_the_command_scores_and_writes_where_there_are_labels(invoke, tmp_path):
    labels, out = mme(tmp_path / "labels"), tmp_path / "up"
    rows = [{"question_id": ident, "text": text} for ident, text in MME_ANSWERS.items()]
    answers = lines(tmp_path / "a.jsonl", rows)
    done = invoke("mme", answers, labels, "--upload", out)
    assert done.exit_code == 0, done.output
    assert "mme by the rules of official" in done.output
    assert f"upload file: {out}" in done.output
    assert {file.name for file in out.iterdir()} == {"existence.txt", "posters.txt"}
    told = json.loads(invoke("mme", answers, labels, "--upload", out, "--json").output)
    assert told["totals"]["posters"] == 200
    assert told["upload"]["file"] == str(out)


def test_every_question_once_or_nothing_is_written(invoke, tmp_path):
    labels = vqav2_test_dev(tmp_path / "labels")
    one, two = ({"question_id": ident, "text": "Yes."} for ident in (42000, 1001))
    answers, out = tmp_path / "a.jsonl", tmp_path / "up.json"
    for rows, message in (
        ([one], "1 of 2 questions have no answer, so no upload file is written (seen: '1001')"),
        ([one, two, one], "1 of 2 questions have more than one answer"),
        ([one, two, {**two, "text": "No"}], "(seen: '1001')"),
    ):
        refused = invoke("vqav2", lines(answers, rows), labels, "--upload", out)
        assert refused.exit_code == 2
        assert message in refused.output
    # An answer twice to a question that is none of these harms nothing.
    other = {"question_id": 5, "text": "No"}
    lines(answers, [one, two, other, other])
    for wrong in (tmp_path / "up.xlsx", tmp_path / "labels"):
        refused = invoke("vqav2", answers, labels, "--upload", wrong)
        assert (refused.exit_code, "a file that ends in .json" in refused.output) == (2, True)
    assert {file.name for file in tmp_path.iterdir()} == {"a.jsonl", "labels"}
    assert invoke("vqav2", answers, labels, "--upload", out).exit_code == 0
    assert len(json.loads(out.read_text())) == 2


def test_pictures_of_test_splits_are_written_too(tmp_path):
    raw = base64.b64encode(b"png").decode()
    file = tmp_path / "mmbench_test.tsv"
    file.write_text(f"index\tquestion\tA\tB\timage\n1\tQ?\ta\tb\t{raw}\n")
    BENCHMARKS["mmbench"].pictures(file, tmp_path / "out")
    assert (tmp_path / "out" / "1").read_bytes() == b"png"
