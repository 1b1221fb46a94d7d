"""Datasets and benchmarks in small, a few rows each, in the forms in which they are published."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.evaluation import label_files

TRAIN, VAL = "COCO_train2014_000000000007.jpg", "COCO_val2014_000000000007.jpg"
PEOPLE = [{"answer": "red"}] * 10


def write_datasets(root: Path) -> None:
    """Those that the embedded world does not have."""
    _picture(root / "coco2014/train2014" / TRAIN)
    said = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "A red square."}]
    _picture(root / "lamm/coco_images/1.jpg")
    row = {"id": "1", "image": "coco_images/1.jpg", "task_type": "t", "conversations": said}
    _json(root / "lamm/LAMM_instruct_186k.json", [row, {**row, "id": "2"}])
    _picture(root / "scienceqa/images/train/1/image.png")
    _science(root / "scienceqa", "train")
    caption = {"id": 1, "image_id": 7, "caption": "A red square."}
    captions = {"images": [{"id": 7, "file_name": TRAIN}], "annotations": [caption]}
    _json(root / "coco_captions/annotations/captions_train2014.json", captions)
    lavin = {"qid": "1", "instruction": "What?", "answer": "A red square.", "image_source": "llava"}
    rows = [{**lavin, "image": "000000000007.jpg"}, {**lavin, "qid": "2", "image": None}]
    _json(root / "lavin/all_data.json", {"train": rows})
    _table(root / "refcoco/data/train-00000-of-00001.parquet", [_reference()])
    _picture(root / "art/train_images/gt_0.jpg")
    text = {"transcription": "OPEN", "points": [[2, 2], [20, 2], [20, 20], [2, 20]]}
    _json(root / "art/train_labels.json", {"gt_0": [{**text, "language": "Latin"}]})
    image = {"width": 24, "height": 24, "file_name": TRAIN, "set": "train"}
    exit_ = {"image_id": 7, "bbox": [2.0, 2.0, 9.0, 9.0], "utf8_string": "EXIT"}
    read = {"imgs": {"7": image}, "anns": {"1": {**exit_, "legibility": "legible"}}}
    _json(root / "coco_text/cocotext.v2.json", read)


def write_benchmarks(root: Path) -> None:
    """Every one that a shipped recipe asks."""
    label_files.write_pope(root, {"random": ["yes", "no"]})
    label_files.write_gqa(root, ["red", "blue"])
    label_files.write_captions(root, [["a red square"], ["a green circle"]])
    label_files.write_mmbench(root, 1)
    label_files.write_mme(root, 2)
    asked = {"question_id": 1, "image_id": 7, "question": "What?"}
    told = {"question_id": 1, "image_id": 7, "answers": PEOPLE}
    _picture(root / "vqav2/images" / VAL)
    _json(root / "vqav2/v2_OpenEnded_mscoco_val2014_questions.json", {"questions": [asked]})
    _json(root / "vqav2/v2_mscoco_val2014_annotations.json", {"annotations": [told]})
    _picture(root / "vizwiz/images/a.jpg")
    _json(root / "vizwiz/val.json", [{"image": "a.jpg", "question": "What?", "answers": PEOPLE}])
    _picture(root / "textvqa/images/x.jpg")
    brand = {"question_id": 5, "image_id": "x", "question": "Brand?", "answers": ["dell"] * 10}
    _json(root / "textvqa/TextVQA_0.5.1_val.json", {"data": [brand]})
    _picture(root / "scienceqa/images/test/1/image.png")
    _science(root / "scienceqa", "test")
    art = {"id": "validation_Art_1", "question": "<image 1>?", "options": "['a', 'b']"}
    art |= {"answer": "B", "question_type": "multiple-choice"}
    picture = {"bytes": label_files.picture("red"), "path": "a.png"}
    _table(root / "mmmu/Art/validation-0.parquet", [{**art, "image_1": picture}])
    law = {"question": "Which?", "subject": "law", "choices": list("abcd"), "answer": 2}
    _table(root / "mmlu/all/validation-0.parquet", [law])
    _picture(root / "refcoco/images/train2014" / TRAIN)
    _table(root / "refcoco/data/testA-00000-of-00001.parquet", [_reference()])


def _science(folder: Path, split: str) -> None:
    problem = {"question": "Which?", "choices": ["cat", "bus"], "answer": 1, "hint": ""}
    problem |= {"image": "image.png", "subject": "natural science", "topic": "physics"}
    _json(folder / "problems.json", {"1": problem, "2": {**problem, "image": None}})
    _json(folder / "pid_splits.json", {split: ["1", "2"]})


def _reference() -> dict[str, Any]:
    return {
        "ref_id": 5,
        "sentences": [{"sent": "the square"}],
        "bbox": [2.0, 2.0, 20.0, 20.0],
        "image_path": f"coco/train2014/{TRAIN}",
        "raw_image_info": json.dumps({"width": 24, "height": 24}),
    }


def _picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    out = io.BytesIO()
    Image.new("RGB", (24, 24), "red").save(out, "JPEG" if path.suffix == ".jpg" else "PNG")
    path.write_bytes(out.getvalue())


def _json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _table(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
