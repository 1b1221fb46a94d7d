"""Writers of the five on-disk formats, field by field as the real datasets have them."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from adaptinf.data.world.skills import Item

SHORT_ANSWER = "\nAnswer the question using a single word or phrase."
INSTRUCTIONS = {
    "count": "Count what you see and answer with a number word.",
    "presence": "Answer the question about the picture with yes or no.",
    "digit": "Look at the handwriting and answer with one word.",
    "parity": "Look at the handwriting and answer the question.",
}


def question_in(dataset: str, item: Item) -> str:
    """The item's question in the wording of a dataset, without image marks.

    LLaVA adds a sentence that asks for a short answer, M3IT an instruction before the question.
    """
    if dataset == "llava" and item.skill in ("colour", "place"):
        return item.question + SHORT_ANSWER
    if dataset == "m3it":
        return f"{INSTRUCTIONS[item.skill]} {item.question}"
    return item.question


def write_llava(folder: Path, items: Sequence[Item]) -> None:
    """``llava_v1_5_mix665k.json``: one picture or none, one exchange or two.

    As in the real file the mark stands at the front or at the end of the first question, text-only
    rows have no ``image`` key but a ``model`` one, and ids are not unique.
    """
    records = []
    for index, item in enumerate(items):
        question = question_in("llava", item)
        if item.pictures:
            question = f"<image>\n{question}" if index % 3 else f"{question}\n<image>"
        turns = _llava_turns(question, item.answer)
        if item.follow_up:
            turns += _llava_turns(item.follow_up.question, item.follow_up.answer)
        if item.pictures:
            path = f"coco/train2017/{index:012d}.jpg"
            _save_jpeg(item.pictures[0], folder / path)
            record = {"id": f"{index // 2:012d}", "image": path, "conversations": turns}
        else:
            record = {"id": f"text_{index}", "model": "", "conversations": turns}
        records.append(record)
    _write_json(folder / "llava_v1_5_mix665k.json", records)


def _llava_turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def write_m3it(folder: Path, items: Sequence[Item]) -> None:
    """``data/GROUP/CONFIG/train.jsonl``: official records with base64 pictures, no marks."""
    for skill in sorted({item.skill for item in items}):
        group = "classification" if skill in ("digit", "parity") else "vqa"
        lines = [
            {
                "instruction": INSTRUCTIONS[skill],
                "inputs": item.question,
                "image_base64_str": [_base64_png(picture) for picture in item.pictures],
                "outputs": item.answer,
            }
            for item in items
            if item.skill == skill
        ]
        _write_jsonl(folder / "data" / group / skill / "train.jsonl", lines)


def write_minigpt4(folder: Path, items: Sequence[Item]) -> None:
    """``filter_cap.json`` with captions only (the reader supplies the prompts) and ``image/``."""
    annotations = []
    for index, item in enumerate(items):
        identifier = str(3 * index + 2)
        _save_jpeg(item.pictures[0], folder / "image" / f"{identifier}.jpg")
        annotations.append({"image_id": identifier, "caption": item.answer})
    _write_json(folder / "filter_cap.json", {"annotations": annotations})


def write_mantis(folder: Path, items: Sequence[Item]) -> None:
    """One folder per subset: Parquet rows and an unpacked ``train_images`` folder."""
    for skill in sorted({item.skill for item in items}):
        rows = []
        for index, item in enumerate(i for i in items if i.skill == skill):
            paths = [f"train_images/{index}_{n}.png" for n in range(len(item.pictures))]
            for path, picture in zip(paths, item.pictures, strict=True):
                _save_png(picture, folder / skill / path)
            rows.append(
                {
                    "id": f"{skill}_{index}",
                    "images": [{"bytes": None, "path": path} for path in paths],
                    "conversation": [
                        {"role": "user", "content": "<image>" * len(paths) + item.question},
                        {"role": "assistant", "content": item.answer},
                    ],
                    "source": skill,
                }
            )
        image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        turn = pa.struct([("role", pa.string()), ("content", pa.string())])
        schema = pa.schema(
            [
                ("id", pa.string()),
                ("images", pa.list_(image)),
                ("conversation", pa.list_(turn)),
                ("source", pa.string()),
            ]
        )
        table = pa.Table.from_pylist(rows, schema=schema)
        pq.write_table(table, folder / skill / "train-00000-of-00001.parquet")


def write_vision_flan(folder: Path, items: Sequence[Item]) -> None:
    """``annotation_191-task_1k.json`` with ``task_name`` and one picture per row."""
    records = []
    for index, item in enumerate(items):
        name = f"{item.skill}_{index}.png"
        _save_png(item.pictures[0], folder / "images_191task_1k" / name)
        records.append(
            {
                "id": f"vision-flan_{item.skill}",
                "image": name,
                "task_name": item.skill,
                "conversations": [
                    {"from": "human", "value": f"<image>\n{item.question}"},
                    {"from": "gpt", "value": item.answer},
                ],
            }
        )
    _write_json(folder / "annotation_191-task_1k.json", records)


def write_benchmark(
    folder: Path, skill: str, metric: str, items: Sequence[Item], taught_by: Sequence[str]
) -> None:
    """A benchmark: ``SKILL.yaml`` beside ``SKILL.jsonl`` in LLaVA's question format.

    Questions are worded as in the first dataset that teaches the skill.
    """
    lines = []
    for index, item in enumerate(items):
        paths = [f"images/{skill}/{index}_{n}.png" for n in range(len(item.pictures))]
        for path, picture in zip(paths, item.pictures, strict=True):
            _save_png(picture, folder / path)
        text = question_in(taught_by[0], item)
        line = {"question_id": f"{skill}_{index}", "text": text, "answer": item.answer}
        lines.append(line | ({"image": paths} if paths else {}))
    _write_jsonl(folder / f"{skill}.jsonl", lines)
    longest = max(len(item.answer) for item in items)
    spec = (
        f"name: {skill}\nskill: {skill}\nquestions: {skill}.jsonl\nimages: .\n"
        f"metric: {metric}\nmax_new_tokens: {8 if longest < 24 else 64}\n"
        f"taught_by: [{', '.join(taught_by)}]\n"
    )
    (folder / f"{skill}.yaml").write_text(spec)


def _save_jpeg(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, "JPEG", quality=95, subsampling=0)


def _save_png(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, "PNG", compress_level=1)


def _base64_png(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode()


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n")


def _write_jsonl(path: Path, lines: Sequence[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
