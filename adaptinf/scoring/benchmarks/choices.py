"""Multiple choice: ScienceQA, MMBench, SEED-Bench, MMMU, MMLU and A-OKVQA."""

from __future__ import annotations

import ast
import base64
import binascii
import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from adaptinf.errors import UserError
from adaptinf.scoring import uploads
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
    label_of,
    one_file,
    rows_of,
    table_rows,
)
from adaptinf.scoring.items import Benchmark, Item, Totals, Verdict, means, percent
from adaptinf.scoring.open_answers import mmmu_open_right

ASK = "\nAnswer with the option's letter from the given choices directly."

_MMMU = (
    "*/validation-*.parquet",
    "validation-*.parquet",
    "*/test-*.parquet",
    "test-*.parquet",
)

_BASE = 1_000_000
"""MMBench numbers the turned copies of a question from here on, and again from its multiples."""


_UNTOLD = ("", "?", "nan")
"""What stands where a test split keeps the answer to itself."""


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
        return Item(str(pid), text, images, _lettered(row, "answer"), groups, options)

    return each(test, problems, item)


def _lettered(row: Any, name: str) -> str | None:
    """The letter of the right option, of which the row has the number."""
    number = label_of(row, name, int)
    return None if number is None else LETTERS[number]


def _letter(row: Any) -> str | None:
    """The letter of the right option, or what else is right, as the row has it."""
    told = label_of(row, "answer", str)
    return None if told is None or told.strip().lower() in _UNTOLD else told


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
    unwanted = ("image", None)  # under None are cells that have no column
    rows = [{key: text for key, text in row.items() if key not in unwanted} for row in every]

    def item(row: dict[str, str]) -> Item:
        options = []
        for letter in "ABCD":
            if (text := row.get(letter) or "") and text.lower() != "nan":
                options.append(text)
        hint = row.get("hint") or ""
        context = f"{hint}\n" if hint and hint.lower() != "nan" else ""
        text = f"{context}{row['question']}\n{listed(options)}{ASK}"
        groups = {key: row[key] for key in ("l2-category", "category") if row.get(key)}
        return Item(
            str(int(row["index"])),
            text,
            (row["index"],),
            _letter(row),
            groups,
            tuple(options),
            row,
        )

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
        image = (str(row["data_id"]),)
        return Item(str(row["question_id"]), text, image, _letter(row), groups, options)

    return each(rows_of(content, file, "questions"), file, item)


def _mmmu(place: Path) -> list[Item]:
    def item(row: Any) -> Item:
        options = tuple(map(str, _listed_options(row.get("options"))))
        groups = {"subject": re.sub(r"^(validation|test)_|_\d+$", "", row["id"])}
        asked = re.sub(r"\s*<image \d+>\s*", " ", field_of(row, "question", str)).strip()
        images = (f"{row['id']}_1",)
        right: Any = _letter(row)
        if row["question_type"] == "open":
            if right is not None and right.startswith("["):
                right = ast.literal_eval(right)
            return Item(row["id"], f"{asked}\n{SHORT}", images, right, groups)
        if not options:
            raise ValueError("multiple choice without options")
        shown = "\n".join(f"({x}) {text}" for x, text in zip(LETTERS, options, strict=False))
        return Item(row["id"], f"{asked}\n\n{shown}\n\n{ASK}", images, right, groups, options)

    return each(_table_rows(place, *_MMMU), place, item)


def _listed_options(options: Any) -> list[Any]:
    """MMMU writes a Python list as text."""
    return list(ast.literal_eval(options)) if isinstance(options, str) else list(options or ())


def _mmlu(place: Path) -> list[Item]:
    def item(pair: Any) -> Item:
        number, row = pair
        options = tuple(row["choices"])
        text = f"{field_of(row, 'question', str)}\n{listed(options)}{ASK}"
        groups = {"subject": row["subject"]}
        return Item(str(number), text, (), _lettered(row, "answer"), groups, options)

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
    file = one_file(place, "aokvqa_v1p0_val.json", "*val*.json", "*test*.json")

    def item(row: Any) -> Item:
        options = tuple(row["choices"])
        text = f"{field_of(row, 'question', str)}\n{listed(options)}{ASK}"
        image, right = f"{int(row['image_id']):012}.jpg", _lettered(row, "correct_choice_idx")
        return Item(row["question_id"], text, (image,), right, options=options)

    return each(rows_of(json_file(file), file), file, item)


def _verdict(item: Item, text: str, letter: str | None) -> Verdict:
    lenient = lenient_letter(text, item.options)
    return Verdict.of(letter == item.right, letter, lenient == item.right)


def _judge_scienceqa(item: Item, text: str, rules: str) -> Verdict:
    if rules == "lmms":
        first = text[:1].upper() if len(text) == 1 or text[1:2] == "." else None
        return _verdict(item, text, first)
    return _verdict(item, text, scienceqa_letter(text))


def _judge_mmbench(item: Item, text: str, rules: str) -> Verdict:
    options = dict(zip(LETTERS, item.options, strict=False))
    return _verdict(item, text, mmbench_letter(text, options))


def _judge_seed(item: Item, text: str, rules: str) -> Verdict:
    letters = LETTERS[: len(item.options)]
    said = text[:1].upper() if rules == "lmms" else text
    return _verdict(item, text, said if said and said in letters else None)


def _judge_mmmu(item: Item, text: str, rules: str) -> Verdict:
    if item.options:
        return _verdict(item, text, mmmu_letter(text, item.options))
    return Verdict.of(mmmu_open_right(text, item.right), text)


def _judge_mmlu(item: Item, text: str, rules: str) -> Verdict:
    said = text.replace(".", "").strip().upper()
    return _verdict(item, text, said if len(said) == 1 and said in "ABCD" else None)


def _judge_aokvqa(item: Item, text: str, rules: str) -> Verdict:
    letters = dict(zip(item.options, LETTERS, strict=False))
    said = letters.get(text) if rules == "official" else lenient_letter(text, item.options)
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
        upload=uploads.MMBENCH,
        together=lambda item: str(_unturned(item)),
    ),
    Benchmark(
        "seed",
        ("llava", "lmms"),
        "SEED-Bench.json",
        _seed,
        _judge_seed,
        means,
        "SEED-Bench",
        upload=uploads.SEED,
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
        upload=uploads.MMMU,
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
        upload=uploads.AOKVQA,
    ),
)
