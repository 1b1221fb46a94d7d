"""Label files of published benchmarks in small, in their own schemas."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

COLOURS = ("red", "green", "blue", "white", "black", "yellow")


def picture(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (24, 24), colour).save(out, "PNG")
    return out.getvalue()


def write_images(folder: Path, names: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        (folder / name).write_bytes(picture(COLOURS[number % len(COLOURS)]))


def write_pope(root: Path, labels: dict[str, Sequence[str]]) -> None:
    """Labels, yes or no, by category."""
    for category, told in labels.items():
        names = [f"{category}{number}.png" for number in range(len(told))]
        write_images(root / "pope" / "images", names)
        rows = [
            {"question_id": number, "image": name, "text": "Is there a dog?", "label": label}
            for number, (name, label) in enumerate(zip(names, told, strict=True))
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (root / "pope" / f"coco_pope_{category}.json").write_text(lines)


def write_gqa(root: Path, answers: Sequence[str], questions: Sequence[str] | None = None) -> None:
    asked = questions or ["What colour is it?"] * len(answers)
    write_images(root / "gqa" / "images", [f"{number}.jpg" for number in range(len(answers))])
    rows = {
        str(number): {
            "question": question,
            "imageId": str(number),
            "answer": answer,
            "types": {"structural": "query" if number % 2 else "verify"},
        }
        for number, (question, answer) in enumerate(zip(asked, answers, strict=True))
    }
    (root / "gqa" / "testdev_balanced_questions.json").write_text(json.dumps(rows))


def write_captions(root: Path, references: Sequence[Sequence[str]]) -> None:
    folder = root / "coco_captions"
    names = [f"{number}.png" for number in range(len(references))]
    write_images(folder / "images", names)
    content = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "annotations": [
            {"image_id": number, "caption": caption}
            for number, captions in enumerate(references)
            for caption in captions
        ],
    }
    (folder / "captions_val2014.json").write_text(json.dumps(content))


def write_mmbench(root: Path, questions: int) -> None:
    """Questions of two options, each with a turned copy; their images stand inside."""
    head = ("index", "question", "A", "B", "answer", "category", "image")
    rows = []
    for number in range(1, questions + 1):
        image = base64.b64encode(picture(COLOURS[number % len(COLOURS)])).decode()
        kind = "odd" if number % 2 else "even"
        rows.append((str(number), "Which?", "cat", "bus", "A", kind, image))
        rows.append((str(1_000_000 + number), "Which?", "bus", "cat", "B", kind, str(number)))
    (root / "mmbench").mkdir(parents=True)
    text = "\n".join("\t".join(row) for row in (head, *rows)) + "\n"
    (root / "mmbench" / "mmbench_dev_20230712.tsv").write_text(text)


def write_mme(root: Path, images: int) -> None:
    """Two questions about each image, of two subtasks."""
    for number in range(images):
        folder = root / "mme" / ("existence" if number % 2 else "count")
        write_images(folder, [f"{number}.png"])
        ask = "Please answer yes or no."
        text = f"Is it a dog? {ask}\tYes\nIs it a cat? {ask}\tNo\n"
        (folder / f"{number}.txt").write_text(text)
