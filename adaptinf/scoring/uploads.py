"""Answers in the forms that evaluation servers and official tools take."""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

from adaptinf.errors import UserError
from adaptinf.scoring.choices import LETTERS, lenient_letter, mmmu_letter
from adaptinf.scoring.files import Answers
from adaptinf.scoring.items import Benchmark, Files, Item, Upload
from adaptinf.scoring.spreadsheet import spreadsheet
from adaptinf.scoring.words import normalised

_NAMED = 5


def upload_files(benchmark: Benchmark, items: Sequence[Item], answers: Answers) -> Files:
    """The upload of these answers, in the order of the items; those to other questions left out.

    Raises:
        UserError: the benchmark has no such form, or a question has no answer, or two.
    """
    if benchmark.upload is None:
        raise UserError("there is no upload form of this benchmark", where=benchmark.name)
    places = dict.fromkeys(item.question_id for item in items)
    missing = [ident for ident in places if ident not in answers.texts]
    twice = [one for one in dict.fromkeys(answers.repeated + answers.contradicted) if one in places]
    for wrong, what in ((missing, "have no answer"), (twice, "have more than one answer")):
        if wrong:
            raise UserError(
                f"{len(wrong):,} of {len(items):,} questions {what}, so no upload file is written",
                where=benchmark.name,
                seen=", ".join(wrong[:_NAMED]) + (", ..." if len(wrong) > _NAMED else ""),
                hint="servers want one answer to every question",
            )
    return benchmark.upload.files(items, [answers.texts[ident] for ident in places])


def _whole(content: Any, note: str = "") -> Files:
    return Files({"": (json.dumps(content) + "\n").encode()}, note)


def _number(ident: str) -> int | str:
    """An id as its label file has it, where ids are numbers."""
    return int(ident) if ident.isdecimal() else ident


def _vqa(items: Sequence[Item], texts: Sequence[str]) -> Files:
    """VQA's results: what LLaVA uploads of VQAv2."""
    pairs = zip(items, texts, strict=True)
    return _whole(
        [{"question_id": _number(i.question_id), "answer": normalised(t)} for i, t in pairs]
    )


def _vizwiz(items: Sequence[Item], texts: Sequence[str]) -> Files:
    pairs = zip(items, texts, strict=True)
    return _whole([{"image": item.images[0], "answer": normalised(text)} for item, text in pairs])


def _gqa(items: Sequence[Item], texts: Sequence[str]) -> Files:
    """As GQA's ``eval.py`` reads them; changed as LLaVA changes them, and as they are scored."""
    pairs = zip(items, texts, strict=True)
    return _whole(
        [{"questionId": i.question_id, "prediction": t.rstrip(".").lower()} for i, t in pairs]
    )


def _captions(items: Sequence[Item], texts: Sequence[str]) -> Files:
    pairs = zip(items, texts, strict=True)
    return _whole([{"image_id": _number(i.question_id), "caption": text} for i, text in pairs])


def _aokvqa(items: Sequence[Item], texts: Sequence[str]) -> Files:
    """The words of the option that is meant.

    A-OKVQA's evaluation refuses anything but an option. As its own ``remap_predictions.py`` puts
    the nearest option in place of an answer (by word vectors), the one nearest in spelling stands
    here for an answer out of which none can be read.
    """
    told, guessed = {}, 0
    for item, text in zip(items, texts, strict=True):
        letter = lenient_letter(text, item.options)
        if text in item.options:
            option = text
        elif letter is not None:
            option = item.options[LETTERS.index(letter)]
        else:
            option, guessed = _nearest(text, item.options), guessed + 1
        told[item.question_id] = {"multiple_choice": option}
    note = f"{guessed:,} answers name no option; the one nearest in spelling stands for them"
    return _whole(told, note if guessed else "")


def _nearest(text: str, options: Sequence[str]) -> str:
    def likeness(option: str) -> float:
        return SequenceMatcher(None, option.lower(), text.lower(), autojunk=False).ratio()

    return max(options, key=likeness)


def _seed(items: Sequence[Item], texts: Sequence[str]) -> Files:
    """Lines as SEED-Bench's leaderboard reads them, of answers as they are."""
    pairs = zip(items, texts, strict=True)
    rows = [{"question_id": item.question_id, "prediction": text} for item, text in pairs]
    return Files({"": "".join(json.dumps(row) + "\n" for row in rows).encode()})


def _mmmu(items: Sequence[Item], texts: Sequence[str]) -> Files:
    """As MMMU's ``main_eval_only.py`` reads them: letters, and open answers as they are.

    An answer out of which no letter can be read stays as it is, and is wrong.
    """
    return _whole(
        {
            item.question_id: (mmmu_letter(text, item.options) if item.options else None) or text
            for item, text in zip(items, texts, strict=True)
        }
    )


def _mmbench(items: Sequence[Item], texts: Sequence[str]) -> Files:
    """All columns but the image, and ``prediction`` behind the options, where LLaVA has it.

    ``index`` is a number: the server joins by it.
    """
    names = list(items[0].row)
    place = 1 + max(number for number, name in enumerate(names) if name in ("index", *"ABCD"))
    rows: list[list[str | int]] = [[*names[:place], "prediction", *names[place:]]]
    for item, text in zip(items, texts, strict=True):
        cells: list[str | int] = [
            int(item.row[name]) if name == "index" else _cell(item.row[name]) for name in names
        ]
        rows.append([*cells[:place], text, *cells[place:]])
    return Files({"": spreadsheet(rows)})


def _cell(text: str | None) -> str:
    """The file writes ``nan`` for nothing; a line that is cut short lacks its last columns."""
    return "" if text is None or text.lower() == "nan" else text


def _mme(items: Sequence[Item], texts: Sequence[str]) -> Files:
    """A file of each subtask: image, question, right answer, answer; an image's two in a row."""
    lines: dict[str, dict[str, list[str]]] = {}
    for item, text in zip(items, texts, strict=True):
        row = item.row
        # A tab or a new line in an answer would be taken for the end of it.
        told = "\t".join([row["file"], row["question"], row["answer"], " ".join(text.split())])
        images = lines.setdefault(item.groups["subtask"], {})
        images.setdefault(item.groups["image"], []).append(f"{told}\n")
    odd = [name for images in lines.values() for name, found in images.items() if len(found) != 2]
    if odd:
        raise UserError(
            f"{len(odd):,} images have not two questions, as MME's tool wants them",
            where="mme",
            seen=", ".join(odd[:_NAMED]),
        )
    return Files(
        {
            f"{subtask}.txt": "".join(line for pair in images.values() for line in pair).encode(
                errors="replace"
            )
            for subtask, images in lines.items()
        }
    )


VQA = Upload(".json", _vqa)
VIZWIZ = Upload(".json", _vizwiz)
GQA = Upload(".json", _gqa)
CAPTIONS = Upload(".json", _captions)
AOKVQA = Upload(".json", _aokvqa)
SEED = Upload(".jsonl", _seed)
MMMU = Upload(".json", _mmmu)
MMBENCH = Upload(".xlsx", _mmbench)
MME = Upload("", _mme)
