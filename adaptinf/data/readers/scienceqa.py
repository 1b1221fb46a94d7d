"""ScienceQA: ``problems.json``, ``pid_splits.json`` and ``images/train/<pid>/image.png``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adaptinf.data import reasons
from adaptinf.data.readers.records import (
    asked,
    fields,
    listed,
    load_json,
    optional_text,
    text_field,
    unusable,
)
from adaptinf.data.rows import RawRow, RowProblem
from adaptinf.data.sample import Turn
from adaptinf.data.source import Source

LETTERS = "ABCDE"
ASK = "Answer with the option's letter from the given choices directly."


def read(source: Source, media: Path) -> Iterator[RawRow]:
    """The problems of the split train, asked as LLaVA-1.5 asks them; the answer is a letter.

    The subject is the task, the topic the skill; about half of the problems have no image.
    """
    problems = load_json(source.annotations)
    splits = source.annotations.with_name("pid_splits.json")
    for row, pid in enumerate(listed(load_json(splits), "train", splits)):
        yield _row(row, str(pid), problems)


def _row(row: int, pid: str, problems: Any) -> RawRow:
    try:
        problem = fields(fields(problems).get(pid))
        picture = optional_text(problem, "image")
        choices, answer = problem.get("choices"), problem.get("answer")
        if not isinstance(choices, list) or not all(isinstance(text, str) for text in choices):
            raise RowProblem(reasons.MALFORMED_ROW, "choices are not a list of texts")
        if type(answer) is not int or not 0 <= answer < len(choices) <= len(LETTERS):
            raise RowProblem(reasons.MALFORMED_ROW, f"answer {answer!r} of {len(choices)} choices")
        hint = optional_text(problem, "hint")
        options = [f"{letter}. {text}" for letter, text in zip(LETTERS, choices, strict=False)]
        lines = [f"Context: {hint}"] if hint else []
        lines += [text_field(problem, "question"), *options, ASK]
        images = (f"images/train/{pid}/{picture}",) if picture else ()
        return RawRow(
            row,
            pid,
            images,
            (asked("\n".join(lines), len(images)), Turn("assistant", LETTERS[answer])),
            optional_text(problem, "subject"),
            optional_text(problem, "topic"),
        )
    except RowProblem as problem_found:
        return unusable(row, pid, problem_found)
