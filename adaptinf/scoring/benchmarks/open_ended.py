"""Questions with open answers: VQAv2, OK-VQA, VizWiz, TextVQA, GQA, and rows of one answer each."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adaptinf.errors import UserError
from adaptinf.scoring import uploads
from adaptinf.scoring.benchmarks.shared import SHORT, conversations, targets
from adaptinf.scoring.files import (
    each,
    field_of,
    has,
    json_file,
    json_lines,
    label_of,
    one_file,
    rows_of,
)
from adaptinf.scoring.items import Benchmark, Item, Totals, Verdict, means
from adaptinf.scoring.vqa import m4c_accuracy, vqa_accuracy
from adaptinf.scoring.words import normalised

UNSURE = "\nWhen the provided information is insufficient, respond with 'Unanswerable'."

_LLAVA_PROMPTS = "llava_textvqa_val_v051_ocr.jsonl"
_SPLIT = re.compile(r"(train|val|test)(?:-\w+)?(20\d\d)")


def _vqa(place: Path) -> list[Item]:
    """VQAv2 and OK-VQA: an annotations file; a questions file beside it tells what is asked.

    Test splits have the questions alone.
    """
    file = one_file(place, "*annotations.json", "*questions.json")
    content = json_file(file)
    split = _split(content, file)
    kind = "questions" if has(content, "questions") else "annotations"
    pattern = file.name.replace("mscoco", "*mscoco").replace("annotations", "questions")
    questions = [path for path in sorted(file.parent.glob(pattern)) if path != file]
    asked: dict[Any, str] = {}
    if questions:
        rows = rows_of(json_file(questions[0]), questions[0], "questions")
        asked = dict(each(rows, questions[0], lambda row: (row["question_id"], row["question"])))

    def item(row: Any) -> Item:
        ident = row["question_id"]
        return Item(
            str(ident),
            (row["question"] if kind == "questions" else asked.get(ident, "")) + SHORT,
            (f"COCO_{split}_{int(row['image_id']):012}.jpg",),
            _people(row),
            {"answers": row["answer_type"]} if "answer_type" in row else {},
        )

    return each(rows_of(content, file, kind), file, item)


def _split(content: Any, file: Path) -> str:
    """COCO's images of the questions, as ``val2014``; those of test-dev are of ``test2015``."""
    told = content["data_subtype"] if has(content, "data_subtype") else ""
    found = _SPLIT.search(f"{told} {file.name}")
    return "".join(found.groups()) if found else "val2014"


def _people(row: Any) -> list[str] | None:
    """What people have answered; None where it is not told."""
    texts = [field_of(answer, "answer", str) for answer in row.get("answers") or ()]
    return texts if any(texts) else None


def _vizwiz(place: Path) -> list[Item]:
    """VizWiz: questions are numbered as they stand in the file."""
    file = one_file(place, "val.json", "*val*.json", "test.json", "*test*.json")
    rows = rows_of(json_file(file), file)

    def item(pair: Any) -> Item:
        number, row = pair
        return Item(
            str(number),
            field_of(row, "question", str) + UNSURE + SHORT,
            (field_of(row, "image", str),),
            _people(row),
            {"answers": row["answer_type"]} if "answer_type" in row else {},
        )

    return each([*enumerate(rows)], file, item)


def _textvqa(place: Path) -> list[Item]:
    """TextVQA: ids are those of the questions, and not of the images as LLaVA's files have them.

    Where LLaVA's own prompts lie beside the labels, they are asked: those show what words an OCR
    system has read in the image.
    """
    file = one_file(place, "TextVQA_0.5.1_val.json", "*val*.json", "*test*.json")

    def item(row: Any) -> Item:
        people = [str(answer) for answer in row.get("answers") or ()]
        return Item(
            str(row["question_id"]),
            field_of(row, "question", str) + SHORT,
            (f"{row['image_id']}.jpg",),
            people if any(people) else None,
        )

    items = each(rows_of(json_file(file), file, "data"), file, item)
    prompts = file.parent / _LLAVA_PROMPTS
    return _prompted(items, prompts) if prompts.is_file() else items


def _prompted(items: Sequence[Item], prompts: Path) -> list[Item]:
    """With LLaVA's prompts, found by image and question as its evaluation finds them."""

    def named(row: Any) -> tuple[tuple[str, str], str]:
        text = field_of(row, "text", str)
        return (str(row["question_id"]), text.partition("\n")[0].strip().lower()), text

    told = dict(each([row for _, row in json_lines(prompts)], prompts, named))

    def asked(item: Item) -> Item:
        image, question = Path(item.images[0]).stem, item.text.removesuffix(SHORT).strip()
        if (image, question.lower()) not in told:
            what = f"no prompt for question {item.question_id}"
            raise UserError(what, where=str(prompts), seen=question, hint="LLaVA's has all of val")
        return replace(item, text=told[image, question.lower()])

    return [asked(item) for item in items]


def _gqa(place: Path) -> list[Item]:
    file = one_file(place, "testdev_balanced_questions.json", "*balanced_questions.json")
    content = json_file(file)
    rows = [*content.items()] if isinstance(content, dict) else rows_of(content, file)

    def item(pair: Any) -> Item:
        ident, row = pair
        types = row.get("types") or {}
        return Item(
            ident,
            field_of(row, "question", str) + SHORT,
            (f"{row['imageId']}.jpg",),
            label_of(row, "answer", str),
            {"questions": types["structural"]} if types.get("structural") else {},
        )

    return each(rows, file, item)


def _targets(place: Path) -> list[Item]:
    """MixLoRA's files, asked as its own evaluation asks them."""
    return [
        replace(item, text=item.text.replace("[Options]", "Options")) for item in targets(place)
    ]


def _judge_people(item: Item, text: str, rules: str) -> Verdict:
    lenient = m4c_accuracy(text, item.right)
    score = vqa_accuracy(text, item.right) if rules == "official" else lenient
    return Verdict(score, max(score, lenient), text)


def _judge_gqa(item: Item, text: str, rules: str) -> Verdict:
    signs = str.maketrans("", "", string.punctuation)
    bare = text.lower().translate(signs).strip()
    lenient = bare == item.right.lower().translate(signs).strip()
    if rules == "lmms":
        return Verdict.of(lenient, bare)
    said = text.rstrip(".").lower()
    return Verdict.of(said == item.right, said, lenient)


def _judge_target(item: Item, text: str, rules: str) -> Verdict:
    said, right = normalised(text), normalised(item.right)
    inside = f" {right} " in f" {said} " if right else False
    return Verdict.of(said == right, said, inside)


def _answered(items: Sequence[Item], verdicts: Sequence[Verdict], rules: str) -> Totals:
    """Exact, and with the right words anywhere in the answer."""
    exact = means(items, verdicts)
    contained = sum(verdict.lenient for verdict in verdicts)
    return {**exact, "contains": 100 * contained / len(verdicts) if verdicts else 0.0}


_VQA_FILES = "v2_mscoco_val2014_annotations.json, or its folder with the questions beside it"

BENCHMARKS = (
    Benchmark(
        "vqav2",
        ("llava", "official"),
        _VQA_FILES,
        _vqa,
        _judge_people,
        means,
        "VQA, 10 people",
        upload=uploads.VQA,
    ),
    Benchmark(
        "okvqa",
        ("llava", "official"),
        "mscoco_val2014_annotations.json, or its folder",
        _vqa,
        _judge_people,
        means,
        "VQA, 10 people",
        upload=uploads.VQA,
    ),
    Benchmark(
        "vizwiz",
        ("llava", "official"),
        "val.json",
        _vizwiz,
        _judge_people,
        means,
        "VQA, 10 people",
        upload=uploads.VIZWIZ,
    ),
    Benchmark(
        "textvqa",
        ("llava", "official"),
        "TextVQA_0.5.1_val.json",
        _textvqa,
        _judge_people,
        means,
        "m4c, 10 people",
        upload=uploads.VQA,
    ),
    Benchmark(
        "gqa",
        ("llava", "lmms"),
        "testdev_balanced_questions.json",
        _gqa,
        _judge_gqa,
        means,
        "GQA's accuracy",
        upload=uploads.GQA,
    ),
    Benchmark(
        "targets",
        ("exact",),
        "a JSON Lines file of unique_id, prompt, target, as MixLoRA's are",
        _targets,
        _judge_target,
        _answered,
        "MixLoRA",
    ),
    Benchmark(
        "video",
        ("exact",),
        "a JSON list of conversations, the first answer being right",
        conversations,
        _judge_target,
        _answered,
        "Adapt-infinity's video sets",
    ),
)
