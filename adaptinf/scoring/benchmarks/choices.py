"""Multiple choice: ScienceQA, MMBench, SEED-Bench, MMMU, MMLU and A-OKVQA."""

from __future__ import annotations

import ast
import base64
import binascii
import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptinf.errors import UserError
from adaptinf.scoring.benchmarks.shared import SHORT
from adaptinf.scoring.choices import (
    LETTERS,
    lenient_letter,
    mmbench_letter,
    mmmu_letter,
    scienceqa_letter,
)
from adaptinf.scoring.files import (
    each,
    field_of,
    json_file,
    json_lines,
    one_file,
    rows_of,
    table_rows,
)
from adaptinf.scoring.items import Benchmark, Item, Totals, Verdict, means, percent
from adaptinf.scoring.open_answers import mmmu_open_right

ASK = "\nAnswer with the option's letter from the given choices directly."

_MMMU = ("*/validation-*.parquet", "validation-*.parquet")

_BASE = 1_000_000
"""MMBench numbers the turned copies of a question from here on, and again from its multiples."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The texts of the options, and the letter of the right one."""

    options: tuple[str, ...]
    letter: str

    def __str__(self) -> str:
        text = dict(zip(LETTERS, self.options, strict=False)).get(self.letter)
        return self.letter if text is None else f"{self.letter}. {text}"


def listed(options: Sequence[str]) -> str:
    """Options a line each, ``A. red``."""
    return "\n".join(f"{x}. {text}" for x, text in zip(LETTERS, options, strict=False))


def _scienceqa(place: Path) -> list[Item]:
    folder = place if place.is_dir() else place.parent
    problems, splits = folder / "problems.json", folder / "pid_splits.json"
    every = json_file(problems)
    test = rows_of(json_file(splits), splits, "test")

    def item(pid: Any) -> Item:
        row = every[str(pid)]
        options = tuple(map(str, row["choices"]))
        context = f"Context: {row['hint']}\n" if row.get("hint") else ""
        images = (f"test/{pid}/{row['image']}",) if row.get("image") else ()
        text = f"{context}{field_of(row, 'question', str)}\n{listed(options)}{ASK}"
        groups = {"kind": "image" if images else "text"}
        if row.get("subject"):
            groups["subject"] = row["subject"]
        return Item(str(pid), text, images, Choice(options, LETTERS[row["answer"]]), groups)

    return each(test, problems, item)


def _mmbench_rows(place: Path) -> tuple[Path, Iterator[dict[str, str]]]:
    """The file, and its rows with their images as text."""
    file = one_file(place, "mmbench_dev*.tsv", "*.tsv")

    def rows() -> Iterator[dict[str, str]]:
        csv.field_size_limit(1 << 28)
        try:
            with file.open(encoding="utf-8", newline="") as lines:
                yield from csv.DictReader(lines, delimiter="\t")
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UserError("the file cannot be read", where=str(file), seen=str(error)) from error

    return file, rows()


def _mmbench_pictures(place: Path, folder: Path) -> None:
    """One image for each row; that of a turned copy may be told by the number of another row."""
    file, rows = _mmbench_rows(place)
    told: dict[str, str] = {}
    for row in rows:
        told[row["index"]] = row.get("image") or ""
        image = told[row["index"]]
        while image.isdigit() and image in told and image != told[image]:
            image = told[image]
        try:
            raw = base64.b64decode(image, validate=True)
        except (binascii.Error, ValueError) as error:
            where = f"{file}: index {row['index']}"
            raise UserError("an image that is not base64", where=where) from error
        write_picture(folder, row["index"], raw)


def _mmmu_pictures(place: Path, folder: Path) -> None:
    """The first image of each row: LLaVA asks about that one."""
    for file in _tables(place, *_MMMU):
        for row in table_rows(file, ["id", "image_1"]):
            raw = (row["image_1"] or {}).get("bytes")
            if not raw:
                raise UserError("a row without its image", where=f"{file}: {row['id']}")
            write_picture(folder, f"{row['id']}_1", raw)


def write_picture(folder: Path, name: str, raw: bytes) -> None:
    """An image file of that name, which has no suffix: its bytes tell what it is."""
    safe = re.fullmatch(r"[\w.-]+", name)
    if safe is None or name.startswith("."):
        raise UserError("not a name for an image", where=str(folder), seen=name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(raw)


def _mmbench(place: Path) -> list[Item]:
    file, every = _mmbench_rows(place)
    rows = [{key: text for key, text in row.items() if key != "image"} for row in every]

    def item(row: dict[str, str]) -> Item:
        options = []
        for letter in "ABCD":
            if (text := row.get(letter) or "") and text.lower() != "nan":
                options.append(text)
        hint = row.get("hint") or ""
        context = f"{hint}\n" if hint and hint.lower() != "nan" else ""
        text = f"{context}{row['question']}\n{listed(options)}{ASK}"
        groups = {key: row[key] for key in ("l2-category", "category") if row.get(key)}
        answer = Choice(tuple(options), row["answer"])
        return Item(str(int(row["index"])), text, (row["index"],), answer, groups)

    return each(rows, file, item)


def _seed(place: Path) -> list[Item]:
    file = one_file(place, "SEED-Bench.json")
    content = json_file(file)
    named = content.get("question_type") if isinstance(content, dict) else None
    kinds = {number: name for name, number in (named or {}).items()}

    def item(row: Any) -> Item:
        options = tuple(str(row[f"choice_{x}"]) for x in "abcd")
        text = f"{field_of(row, 'question', str)}\n{listed(options)}{ASK}"
        groups = {"media": row["data_type"]}
        if row.get("question_type_id") in kinds:
            groups["type"] = kinds[row["question_type_id"]]
        answer = Choice(options, row["answer"])
        return Item(str(row["question_id"]), text, (str(row["data_id"]),), answer, groups)

    return each(rows_of(content, file, "questions"), file, item)


def _mmmu(place: Path) -> list[Item]:
    def item(row: Any) -> Item:
        options = tuple(map(str, _listed_options(row.get("options"))))
        subject = re.sub(r"^validation_|_\d+$", "", row["id"])
        asked = re.sub(r"\s*<image \d+>\s*", " ", field_of(row, "question", str)).strip()
        images = (f"{row['id']}_1",)
        if row["question_type"] == "open":
            told = field_of(row, "answer", str)
            gold = ast.literal_eval(told) if told.startswith("[") else told
            return Item(row["id"], f"{asked}\n{SHORT}", images, gold, {"subject": subject})
        shown = "\n".join(f"({x}) {text}" for x, text in zip(LETTERS, options, strict=False))
        answer = Choice(options, row["answer"])
        return Item(row["id"], f"{asked}\n\n{shown}\n\n{ASK}", images, answer, {"subject": subject})

    return each(_table_rows(place, *_MMMU), place, item)


def _listed_options(options: Any) -> list[Any]:
    """MMMU writes a Python list as text."""
    return list(ast.literal_eval(options)) if isinstance(options, str) else list(options or ())


def _mmlu(place: Path) -> list[Item]:
    def item(pair: Any) -> Item:
        number, row = pair
        options = tuple(row["choices"])
        text = f"{field_of(row, 'question', str)}\n{listed(options)}{ASK}"
        answer = Choice(options, LETTERS[row["answer"]])
        return Item(str(number), text, (), answer, {"subject": row["subject"]})

    rows = _table_rows(place, "validation-*.parquet", "all/validation-*.parquet", "*.parquet")
    return each([*enumerate(rows)], place, item)


def _table_rows(place: Path, *patterns: str) -> list[Any]:
    """Rows of Parquet files, images left out, or of one JSON Lines file."""
    if place.suffix == ".jsonl":
        return [row for _, row in json_lines(place)]
    return [row for file in _tables(place, *patterns) for row in table_rows(file)]


def _tables(place: Path, *patterns: str) -> list[Path]:
    """The place if it is a file, else the files of the first pattern that has any."""
    files = [place] if place.is_file() else []
    for pattern in patterns:
        files = files or sorted(place.glob(pattern))
    if not files:
        hint = f"expected {' or '.join(patterns)}, or a .jsonl file"
        raise UserError("no labels here", where=str(place), hint=hint)
    return files


def _aokvqa(place: Path) -> list[Item]:
    file = one_file(place, "aokvqa_v1p0_val.json", "*val*.json")

    def item(row: Any) -> Item:
        options = tuple(row["choices"])
        text = f"{field_of(row, 'question', str)}\n{listed(options)}{ASK}"
        answer = Choice(options, LETTERS[row["correct_choice_idx"]])
        return Item(row["question_id"], text, (f"{int(row['image_id']):012}.jpg",), answer)

    return each(rows_of(json_file(file), file), file, item)


def _verdict(item: Item, text: str, letter: str | None) -> Verdict:
    right = item.right.letter
    lenient = lenient_letter(text, item.right.options)
    return Verdict.of(letter == right, letter, lenient == right)


def _judge_scienceqa(item: Item, text: str, rules: str) -> Verdict:
    if rules == "lmms":
        first = text[:1].upper() if len(text) == 1 or text[1:2] == "." else None
        return _verdict(item, text, first)
    return _verdict(item, text, scienceqa_letter(text))


def _judge_mmbench(item: Item, text: str, rules: str) -> Verdict:
    options = dict(zip(LETTERS, item.right.options, strict=False))
    return _verdict(item, text, mmbench_letter(text, options))


def _judge_seed(item: Item, text: str, rules: str) -> Verdict:
    letters = LETTERS[: len(item.right.options)]
    said = text[:1].upper() if rules == "lmms" else text
    return _verdict(item, text, said if said and said in letters else None)


def _judge_mmmu(item: Item, text: str, rules: str) -> Verdict:
    if isinstance(item.right, Choice):
        return _verdict(item, text, mmmu_letter(text, item.right.options))
    return Verdict.of(mmmu_open_right(text, item.right), text)


def _judge_mmlu(item: Item, text: str, rules: str) -> Verdict:
    said = text.replace(".", "").strip().upper()
    return _verdict(item, text, said if len(said) == 1 and said in "ABCD" else None)


def _judge_aokvqa(item: Item, text: str, rules: str) -> Verdict:
    letters = dict(zip(item.right.options, LETTERS, strict=False))
    said = letters.get(text) if rules == "official" else lenient_letter(text, item.right.options)
    return _verdict(item, text, said)


def _unturned(item: Item) -> int:
    """The number of the question of which an item is a turned copy, or itself."""
    return int(item.question_id) % _BASE


def _circular(items: Sequence[Item], verdicts: Sequence[Verdict], rules: str) -> Totals:
    """A question counts if all its turned copies are right; then the copies that are not turned."""
    whole: dict[int, list[float]] = {}
    groups: dict[int, dict[str, str]] = {}
    for item, verdict in zip(items, verdicts, strict=True):
        number = _unturned(item)
        whole.setdefault(number, []).append(verdict.score)
        groups.setdefault(number, dict(item.groups))
    scores = {number: min(found) for number, found in whole.items()}
    every = [Item(str(number), "", (), None, groups[number]) for number in scores]
    totals = means(every, [Verdict(score, score, None) for score in scores.values()])
    plain = [v.score for i, v in zip(items, verdicts, strict=True) if int(i.question_id) < _BASE]
    accuracy = totals.pop("accuracy")
    return {"circular accuracy": accuracy, "vanilla accuracy": percent(plain), **totals}


BENCHMARKS = (
    Benchmark(
        "scienceqa",
        ("llava", "lmms"),
        "the folder of problems.json and pid_splits.json",
        _scienceqa,
        _judge_scienceqa,
        means,
        "LLaVA's eval_science_qa",
    ),
    Benchmark(
        "mmbench",
        ("official",),
        "mmbench_dev_*.tsv",
        _mmbench,
        _judge_mmbench,
        _circular,
        "MMBench without a judge",
        _mmbench_pictures,
        together=lambda item: str(_unturned(item)),
    ),
    Benchmark(
        "seed", ("llava", "lmms"), "SEED-Bench.json", _seed, _judge_seed, means, "SEED-Bench"
    ),
    Benchmark(
        "mmmu",
        ("official",),
        "the folder of subjects, validation-*.parquet in each",
        _mmmu,
        _judge_mmmu,
        means,
        "MMMU; an answer without a letter is wrong, where theirs draws one",
        _mmmu_pictures,
    ),
    Benchmark(
        "mmlu",
        ("adapt-inf",),
        "validation-*.parquet of the configuration all",
        _mmlu,
        _judge_mmlu,
        means,
        "Adapt-infinity: no examples, generated letters",
    ),
    Benchmark(
        "aokvqa",
        ("llava", "official"),
        "aokvqa_v1p0_val.json",
        _aokvqa,
        _judge_aokvqa,
        means,
        "A-OKVQA, multiple choice",
    ),
)
