"""The further datasets in their own schemas: rows as they are read, and what is wrong with some."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from adaptinf.data import readers
from adaptinf.data.readers.regions import box_text
from adaptinf.data.rows import RawRow, RowProblem
from adaptinf.data.sample import Turn
from adaptinf.data.source import Source
from adaptinf.errors import UserError


def read(format: str, path: Path, images: Path | None = None) -> list[RawRow]:
    source = Source(format, format, path, images or path.parent, None)
    return list(readers.read(source, path.parent / "media"))


def written(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def turns(*texts: str) -> tuple[Turn, ...]:
    return tuple(Turn("assistant" if i % 2 else "user", text) for i, text in enumerate(texts))


def said(*texts: str) -> list[dict[str, str]]:
    return [{"from": "gpt" if i % 2 else "human", "value": t} for i, t in enumerate(texts)]


def problems(rows: list[RawRow]) -> list[tuple[str, str | None]]:
    return [(row.source_id, row.problem) for row in rows]


def test_lamm(tmp_path):
    image = {"image": "coco_images/1.jpg", "task_type": "conversation", "src_image": "coco2017"}
    path = written(
        tmp_path / "LAMM_instruct_186k.json",
        [
            {"id": "1", **image, "conversations": said("What?", "A cat.", "Where?", "There.")},
            {"id": "2", **image, "conversations": said("<image>\nWhat?", "A cat.")},
            {"id": "3", **image, "conversations": said()},
            {"id": "4", "conversations": said("q", "a"), "task_type": 3},
        ],
    )
    rows = read("lamm", path)
    names = ("coco_images/1.jpg",)
    first = turns("<image>\nWhat?", "A cat.", "Where?", "There.")
    assert rows[0] == RawRow(0, "1", names, first, skill="conversation")
    assert rows[1].turns == turns("<image>\nWhat?", "A cat.")
    assert rows[2].turns == ()
    assert rows[3] == RawRow(3, "4", problem="malformed-row", detail="task_type is int")


def test_scienceqa(tmp_path):
    problem = {
        "question": "Which is larger?",
        "choices": ["cat", "bus"],
        "answer": 1,
        "hint": "Look.",
        "image": "image.png",
        "subject": "natural science",
        "topic": "physics",
    }
    path = written(
        tmp_path / "problems.json",
        {
            "1": problem,
            "2": {**problem, "image": None, "hint": "", "subject": None},
            "3": {**problem, "answer": 2},
            "4": {**problem, "choices": "cat"},
            "9": problem,
        },
    )
    written(tmp_path / "pid_splits.json", {"train": ["2", "1", "3", "4", "5"], "test": ["9"]})
    text, seen, *bad = read("scienceqa", path)
    ask = "Answer with the option's letter from the given choices directly."
    options = f"Which is larger?\nA. cat\nB. bus\n{ask}"
    assert text == RawRow(0, "2", (), turns(options, "B"), None, "physics")
    assert seen == RawRow(
        1,
        "1",
        ("images/train/1/image.png",),
        turns(f"<image>\nContext: Look.\n{options}", "B"),
        "natural science",
        "physics",
    )
    assert problems(bad) == [(pid, "malformed-row") for pid in ("3", "4", "5")]
    (tmp_path / "pid_splits.json").write_text("{}")
    with pytest.raises(UserError, match=r"pid_splits.json: expected a JSON object with a list of"):
        read("scienceqa", path)


def test_coco_captions(tmp_path):
    path = written(
        tmp_path / "captions_train2014.json",
        {
            "images": [{"id": 7, "file_name": "COCO_train2014_000000000007.jpg"}, "odd"],
            "annotations": [
                {"id": 1, "image_id": 7, "caption": "A cat sits.\n"},
                {"id": 2, "image_id": 8, "caption": "A cat."},
                {"id": 3, "image_id": [], "caption": "A cat."},
                {"id": 4, "image_id": 7, "caption": None},
            ],
        },
    )
    first, *bad = read("coco_captions", path)
    asked = "<image>\nProvide a one-sentence caption for the provided image."
    names = ("train2014/COCO_train2014_000000000007.jpg",)
    assert first == RawRow(0, "1", names, turns(asked, "A cat sits."))
    assert problems(bad) == [(ident, "malformed-row") for ident in "234"]


def test_lavin(tmp_path):
    row = {"instruction": "What?", "answer": "A cat."}
    path = written(
        tmp_path / "all_data.json",
        {
            "train": [
                {"qid": "1", **row, "image": "000000000007.jpg", "image_source": "llava"},
                {"qid": "2", **row, "image": "image.png", "image_source": "sqa"},
                {"qid": "3", **row, "image": None},
                {"qid": "4", "answer": "A cat.", "image": None},
            ]
        },
    )
    coco, science, text, bad = read("lavin", path)
    assert coco == RawRow(
        0,
        "1",
        ("coco2014/train2014/COCO_train2014_000000000007.jpg",),
        turns("<image>\nWhat?", "A cat."),
        skill="llava",
        part="llava",
    )
    assert science.images == ("scienceqa/images/train/2/image.png",)
    assert text == RawRow(2, "3", (), turns("What?", "A cat."))
    assert bad.problem == "malformed-row"


def test_refcoco(tmp_path):
    info = json.dumps({"width": 640, "height": 480})
    row = {
        "ref_id": 5,
        "sentences": [{"raw": "Left cat", "sent": "left cat"}, {"raw": "x", "sent": "the cat"}],
        "bbox": [100.0, 120.0, 300.0, 360.0],
        "image_path": "coco/train2014/COCO_train2014_000000000007.jpg",
        "raw_image_info": info,
    }
    rows = [
        row,
        {
            **row,
            "ref_id": 6,
            "bbox": [100.0, 120.0, 90.0, 360.0],
            "sentences": row["sentences"][:1],
        },
        {**row, "ref_id": 7, "raw_image_info": "{", "sentences": row["sentences"][:1]},
        {**row, "ref_id": 8, "sentences": []},
    ]
    folder = tmp_path / "refcoco" / "data"
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "train-00000-of-00001.parquet")
    pq.write_table(pa.Table.from_pylist(rows), folder / "test-00000-of-00001.parquet")
    first, second, *bad = read("refcoco", tmp_path / "refcoco")
    asked = "Please provide the bounding box coordinate of the region this sentence describes: "
    names = ("train2014/COCO_train2014_000000000007.jpg",)
    # The original frame's golden value for this box.
    answer = "[0.16, 0.25, 0.47, 0.75]"
    assert first == RawRow(0, "5-0", names, turns(f"<image>\n{asked}left cat", answer))
    assert second.turns[0].text.endswith("the cat")
    assert problems(bad) == [(f"{n}-0", "malformed-row") for n in (6, 7, 8)]


def test_coco_text(tmp_path):
    text = {"image_id": 7, "bbox": [64.0, 48.0, 64.0, 48.0], "utf8_string": "EXIT"}
    text["legibility"] = "legible"
    name = "COCO_train2014_000000000007.jpg"
    image = {"width": 640, "height": 480, "file_name": name, "set": "train"}
    path = written(
        tmp_path / "cocotext.v2.json",
        {
            "imgs": {"7": image, "8": {**image, "set": "val"}},
            "anns": {
                "1": text,
                "2": {**text, "legibility": "illegible"},
                "3": {**text, "image_id": 8},
                "4": {**text, "bbox": [1.0]},
                "5": {**text, "image_id": 9},
                "6": {**text, "utf8_string": ""},
            },
        },
    )
    first, *bad = read("coco_text", path)
    asked = "<image>\nPlease provide the text in this region: [0.10, 0.10, 0.20, 0.20]"
    assert first == RawRow(0, "1", (f"train2014/{name}",), turns(asked, "EXIT"))
    assert problems(bad) == [
        ("2", "illegible-text"),
        ("4", "malformed-row"),
        ("5", "malformed-row"),
        ("6", "illegible-text"),
    ]
    assert [row.row for row in bad] == [1, 2, 3, 4]


def test_art(tmp_path):
    (tmp_path / "train_images").mkdir()
    Image.new("RGB", (200, 100)).save(tmp_path / "train_images" / "gt_0.jpg")
    text = {"transcription": "OPEN", "points": [[20, 10], [60, 12], [58, 30], [22, 28]]}
    text |= {"language": "Latin", "illegibility": False}
    path = written(
        tmp_path / "train_labels.json",
        {
            "gt_0": [
                text,
                {**text, "illegibility": True},
                {**text, "transcription": "###"},
                {**text, "points": [[1]]},
                {**text, "points": [[20, 10], [20, 10]]},
            ],
            "gt_1": [text],
            "gt_2": "odd",
        },
    )
    first, *bad = read("art", path)
    asked = "<image>\nPlease provide the text in this region: [0.10, 0.10, 0.30, 0.30]"
    assert first == RawRow(
        0, "gt_0-0", ("train_images/gt_0.jpg",), turns(asked, "OPEN"), skill="Latin"
    )
    assert problems(bad) == [
        ("gt_0-1", "illegible-text"),
        ("gt_0-2", "illegible-text"),
        ("gt_0-3", "malformed-row"),
        ("gt_0-4", "malformed-row"),
        ("gt_1-0", "missing-image"),
        ("gt_2-0", "malformed-row"),
    ]


@pytest.mark.parametrize("format", ["coco_captions", "coco_text", "art", "lavin"])
def test_files_of_another_shape_are_refused(tmp_path, format):
    path = tmp_path / "a.json"
    path.write_text("[]")
    with pytest.raises(UserError, match=r"a.json: expected a JSON object"):
        read(format, path)


@pytest.mark.parametrize(
    ("corners", "size"),
    [
        ((0, 0, 10), (10, 10)),
        ((0, 0, 10, None), (10, 10)),
        ((0, 0, 12, 10), (10, 10)),
        ((-3, 0, 10, 10), (10, 10)),
        ((5, 0, 5, 10), (10, 10)),
        ((0, 0, float("nan"), 10), (10, 10)),
        ((0, 0, 5, 5), (0, 10)),
    ],
)
def test_boxes_that_are_none_are_refused(corners, size):
    with pytest.raises(RowProblem, match="malformed-row"):
        box_text(corners, *size)


def test_a_box_may_reach_a_pixel_over_the_edge():
    assert box_text((-0.5, 0, 10.4, 5), 10, 10) == "[0.00, 0.00, 1.00, 0.50]"
