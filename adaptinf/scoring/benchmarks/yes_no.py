"""Questions of yes or no: POPE and MME."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adaptinf.errors import UserError
from adaptinf.scoring import uploads
from adaptinf.scoring.benchmarks.shared import SHORT
from adaptinf.scoring.files import each, field_of, json_lines, label_of
from adaptinf.scoring.items import Benchmark, Item, Totals, Verdict, percent
from adaptinf.scoring.yes_no import Confusion, lenient_answer, mme_answer, pope_answer

PERCEPTION = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
COGNITION = (
    "commonsense_reasoning",
    "numerical_calculation",
    "text_translation",
    "code_reasoning",
)
_LLAVA_QUESTIONS = "llava_pope_test.jsonl"


def _pope(place: Path) -> list[Item]:
    """Three files of labels in a folder, or one of them.

    A question's id is ``category/number``. Where LLaVA's own questions lie beside them, ids are
    theirs, which run on from one category to the next.
    """
    files = [place] if place.is_file() else sorted(place.glob("coco_pope_*.json"))
    if not files:
        raise UserError("no labels here", where=str(place), hint="expected coco_pope_*.json")
    items: list[Item] = []
    for file in files:
        category = file.stem.rpartition("_")[2]

        def item(row: Any, category: str = category) -> Item:
            label = label_of(row, "label", str)
            if label not in ("yes", "no", None):
                raise ValueError(f"label is {label!r}")
            ident = f"{category}/{row['question_id']}"
            text = field_of(row, "text", str) + SHORT
            return Item(ident, text, (row["image"],), label, {"category": category})

        items += each([row for _, row in json_lines(file)], file, item)
    questions = (place if place.is_dir() else place.parent) / _LLAVA_QUESTIONS
    return _renumbered(items, questions) if questions.is_file() else items


def _renumbered(items: Sequence[Item], questions: Path) -> list[Item]:
    """With the ids of LLaVA's questions, which stand in the order of the labels."""
    ids: dict[str, list[str]] = {}
    for _, row in json_lines(questions):
        ids.setdefault(row["category"], []).append(str(row["question_id"]))
    numbered = []
    for category in dict.fromkeys(item.groups["category"] for item in items):
        mine = [item for item in items if item.groups["category"] == category]
        theirs = ids.get(category, [])
        if len(mine) != len(theirs):
            raise UserError(
                f"{len(theirs)} questions of {category}, where there are {len(mine)} labels",
                where=str(questions),
                hint="LLaVA's are of POPE's commit e3e39262, with 2,910 random ones",
            )
        numbered += [
            replace(item, question_id=ident) for ident, item in zip(theirs, mine, strict=True)
        ]
    return numbered


def _mme(place: Path) -> list[Item]:
    """Folders of subtasks, with a text file for each image, of two lines: question, tab, answer.

    A question's id is ``subtask/image/1`` or ``/2``.
    """
    items = []
    for subtask in (*PERCEPTION, *COGNITION):
        folder = place / subtask
        texts = folder / "questions_answers_YN"
        images = folder / "images" if texts.is_dir() else folder
        texts = texts if texts.is_dir() else folder
        for file in sorted(texts.glob("*.txt")):
            image = next(
                (i for i in sorted(images.glob(f"{file.stem}.*")) if i.suffix != ".txt"), None
            )
            lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
            for number, line in enumerate(lines, 1):
                question, tab, answer = line.partition("\t")
                if not tab or answer.strip().lower() not in ("yes", "no"):
                    what = "expected a question, a tab, and Yes or No"
                    raise UserError(what, where=f"{file}:{number}", seen=line)
                asked = question.replace("Please answer yes or no.", "").strip()
                shown = (image.relative_to(place).as_posix(),) if image else ()
                items.append(
                    Item(
                        f"{subtask}/{file.stem}/{number}",
                        asked + SHORT,
                        shown,
                        answer.strip().lower(),
                        {"subtask": subtask, "image": f"{subtask}/{file.stem}"},
                        row={
                            "file": image.name if image else file.name,
                            "question": question,
                            "answer": answer.strip(),
                        },
                    )
                )
    if not items:
        hint = f"expected folders {', '.join(PERCEPTION[:3])}, ..."
        raise UserError("no labels here", where=str(place), hint=hint)
    return items


def _pope_image(item: Item) -> str:
    """Questions about an image, of which as many are to be answered yes as no."""
    return f"{item.groups['category']}/{item.images[0]}"


def _judge_pope(item: Item, text: str, rules: str) -> Verdict:
    lenient = lenient_answer(text) == item.right
    if rules == "lmms":
        said = text.lower().strip()
        return Verdict.of(said == item.right, said if said in ("yes", "no") else None, lenient)
    said = pope_answer(text)
    return Verdict.of(said == item.right, said, lenient)


def _judge_mme(item: Item, text: str, rules: str) -> Verdict:
    said = mme_answer(text)
    lenient = lenient_answer(text) == item.right
    return Verdict.of(said == item.right, None if said == "other" else said, lenient)


def _total_pope(items: Sequence[Item], verdicts: Sequence[Verdict], rules: str) -> Totals:
    """F1 as the mean over categories, then everything by category."""
    totals: Totals = {}
    categories = list(dict.fromkeys(item.groups["category"] for item in items))
    for category in categories:
        pairs = [
            (verdict.said or ("no" if item.right == "yes" else "yes"), item.right)
            for item, verdict in zip(items, verdicts, strict=True)
            if item.groups["category"] == category
        ]
        found = Confusion.of([said for said, _ in pairs], [label for _, label in pairs])
        for name in ("f1", "accuracy", "precision", "recall", "yes_share"):
            totals[f"{category} {name}"] = 100 * getattr(found, name)
    mean = sum(totals[f"{category} f1"] for category in categories) / max(1, len(categories))
    return {"f1": mean, **totals}


def _total_mme(items: Sequence[Item], verdicts: Sequence[Verdict], rules: str) -> Totals:
    """Sums of accuracy over questions and over images with both answers right, as MME has them.

    Not percent: up to 200 a subtask, 2,000 for perception and 800 for cognition.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for item, verdict in zip(items, verdicts, strict=True):
        images = found.setdefault(item.groups["subtask"], {})
        images.setdefault(item.groups["image"], []).append(verdict.score)
    scores = {}
    for subtask, images in found.items():
        each_question = [score for pair in images.values() for score in pair]
        both = [min(pair) for pair in images.values()]
        scores[subtask] = percent(each_question) + percent(both)
    sums = {
        "perception": sum(scores.get(name, 0.0) for name in PERCEPTION),
        "cognition": sum(scores.get(name, 0.0) for name in COGNITION),
    }
    return {"total": sum(sums.values()), **sums, **scores}


BENCHMARKS = (
    Benchmark(
        "pope",
        ("llava", "lmms"),
        "the folder of coco_pope_*.json, or one of them",
        _pope,
        _judge_pope,
        _total_pope,
        "POPE; F1 of the answer yes, mean over the categories",
        together=_pope_image,
    ),
    Benchmark(
        "mme",
        ("official",),
        "the folder of its subtasks",
        _mme,
        _judge_mme,
        _total_mme,
        "MME's calculation.py",
        upload=uploads.MME,
        together=lambda item: item.groups["image"],
    ),
)
