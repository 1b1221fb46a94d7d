"""Questions that were answered right when their skill was learned and are answered wrong now."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptinf.errors import UserError
from adaptinf.report.findings import Findings
from adaptinf.report.gallery import Thumbnail, plain, thumbnail

RIGHT = 1.0
WRONG = 0.5
PER_BENCHMARK = 2


@dataclass(frozen=True, slots=True)
class Lapse:
    """One forgotten item: the right answer of step ``then`` and the last step's wrong one."""

    benchmark: str
    picture: Thumbnail | None
    note: str
    question: str
    expected: str
    then: str
    right_text: str
    wrong_text: str


def find_lapses(findings: Findings, limit: int) -> list[Lapse]:
    """At most ``limit`` lapses, of the benchmarks with the largest end-drops first.

    Right is a full score at the learned step, wrong less than half a score after the last.
    """
    fallen = [
        (path.last - path.learned, path.name, path.learned_at)
        for path in findings.matrix.per_benchmark()
        if path.learned is not None and path.learned_at is not None and path.last < path.learned
    ]
    lapses: list[Lapse] = []
    for _, benchmark, learned_at in sorted(fallen):
        if len(lapses) < limit:
            lapses += _lapses_of(findings, benchmark, learned_at)
    return lapses[:limit]


def _lapses_of(findings: Findings, benchmark: str, learned_at: int) -> list[Lapse]:
    last = len(findings.matrix.steps) - 1
    once = {
        line["question_id"]: line["text"]
        for line in _predictions(findings.step_folder(learned_at), benchmark)
        if line["score"] >= RIGHT
    }
    lost = (
        line
        for line in _predictions(findings.step_folder(last), benchmark)
        if line["question_id"] in once and line["score"] < WRONG
    )
    root = findings.image_roots.get(f"benchmark:{benchmark}")
    then = findings.matrix.steps[learned_at]
    return [
        _lapse(benchmark, root, then, once[line["question_id"]], line)
        for line in heapq.nsmallest(PER_BENCHMARK, lost, key=lambda line: line["score"])
    ]


def _lapse(
    benchmark: str, root: Path | None, then: str, right_text: str, line: dict[str, Any]
) -> Lapse:
    images = line.get("images") or []
    picture = thumbnail(root, images[0]) if images else None
    return Lapse(
        benchmark=benchmark,
        picture=picture,
        note="image not found" if images and picture is None else "text only" if not images else "",
        question=plain(line["prompt"]),
        expected=plain(line["answer"]),
        then=then,
        right_text=plain(right_text),
        wrong_text=plain(line["text"]),
    )


def _predictions(step: Path, benchmark: str) -> Iterator[dict[str, Any]]:
    """Lines of one benchmark's predictions, none where there is no such file."""
    file = step / "evaluate" / benchmark / "predictions.jsonl"
    if not file.is_file():
        return
    with file.open(encoding="utf-8") as lines:
        for number, text in enumerate(lines, 1):
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                line = None
            if not isinstance(line, dict) or not _is_prediction(line):
                raise UserError(
                    "not a line of predictions", where=f"{file}:{number}", seen=text.strip()[:80]
                )
            yield line


def _is_prediction(line: dict[str, Any]) -> bool:
    images = line.get("images") or []
    if not isinstance(images, list):
        return False
    texts = [line.get("prompt"), line.get("text"), line.get("answer"), *images]
    named = isinstance(line.get("question_id"), str | int)
    scored = isinstance(line.get("score"), int | float)
    return named and scored and all(isinstance(text, str) for text in texts)
