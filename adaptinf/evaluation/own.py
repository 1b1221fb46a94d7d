"""Benchmarks of one's own: a YAML file names the questions, the images, the metric, the skill."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from adaptinf.errors import UserError, suggestion
from adaptinf.evaluation.benchmark import Benchmark, Marks, Question
from adaptinf.evaluation.scorers import SCORERS, Scorer, scorer
from adaptinf.folders import is_plain_name
from adaptinf.plugins import load_function, plugin_file
from adaptinf.scoring.items import percent


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value


def _are_texts(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(map(_is_text, value)))


_SHAPES: tuple[tuple[str, Callable[[object], bool], str], ...] = (
    ("name", is_plain_name, "no name of a folder"),
    ("skill", _is_text, "no text"),
    ("metric", is_plain_name, "no metric, and no file in the benchmark's folder"),
    ("questions", _is_text, "no path"),
    ("images", _is_text, "no path"),
    ("max_new_tokens", lambda value: isinstance(value, int) and value > 0, "no whole number > 0"),
    ("taught_by", _are_texts, "no list of datasets"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnBenchmark(Benchmark):
    """What to ask, and how to score it.

    ``questions`` is a JSONL file in LLaVA's question format (``question_id``, ``text``, ``image``
    absent, a path or a list) with an ``answer``. ``plugin`` is the file of a metric
    ``file.py:function`` of one's own.
    """

    questions: Path
    plugin: Path | None = None

    @property
    def files(self) -> Mapping[str, Path]:
        """The questions, and the metric's file if there is one."""
        found = {"questions": self.questions, "metric": self.plugin}
        return {name: file for name, file in found.items() if file is not None}

    def scorer(self) -> Scorer:
        """What values a single answer, ``score(prediction, answer)`` in [0, 1].

        Raises:
            UserError: the file of one's own fails, or gives something else.
        """
        if self.plugin is None:
            return scorer(self.metric)
        function = load_function(self.plugin, self.metric)

        def score(prediction: str, answer: str) -> float:
            value = function(prediction, answer)
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                raise UserError("a score is a number from 0 to 1", where=self.metric, seen=value)
            return float(value)

        return score

    def mark(self, questions: Sequence[Question], texts: Sequence[str]) -> Marks:
        """Scores of the answers by the metric, and their mean."""
        score = self.scorer()
        scores = [score(text, q.answer) for text, q in zip(texts, questions, strict=True)]
        return Marks(scores, {self.metric: percent(scores)})

    def items(self, limit: int | None = None) -> list[Question]:
        """The questions in file order, the first ``limit`` of them.

        Raises:
            UserError: a line that is no JSON object or lacks a field, with file and line.
        """
        items = []
        try:
            with self.questions.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    if limit is not None and len(items) >= limit:
                        break
                    items.append(self._item(line, number))
        except (OSError, UnicodeDecodeError) as error:
            where = str(self.questions)
            raise UserError("the questions cannot be read", where=where, seen=str(error)) from None
        return items

    def unscored(self, questions: Sequence[Question]) -> str | None:
        """None: every question has its answer."""
        return None

    def whole(self, question: Question) -> str | None:
        """None: every question stands alone."""
        return None

    def prepare(self) -> None:
        """Nothing: the images are files already."""

    def _item(self, line: str, number: int) -> Question:
        where = f"{self.questions}:{number}"
        try:
            row = json.loads(line)
            images = row.get("image") or []
            question = Question(
                question_id=str(row["question_id"]),
                text=row["text"],
                answer=str(row["answer"]),
                images=(images,) if isinstance(images, str) else tuple(images),
            )
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            question = None
        if question is None or not all(
            isinstance(t, str) for t in (question.text, *question.images)
        ):
            raise UserError(
                "a benchmark line needs question_id, text and answer",
                where=where,
                seen=line.strip()[:80],
            )
        return question


def load_benchmark(file: Path) -> OwnBenchmark:
    """Read one benchmark YAML; relative paths start at the YAML's folder.

    A benchmark may come from a stranger: its name, which names a folder, and its metric's file lead
    nowhere else.

    Raises:
        UserError: what is wrong with it, or an unknown metric.
    """
    spec = _spec(file)
    keys = {"name", "skill", "questions", "images", "metric", "max_new_tokens", "taught_by"}
    if not isinstance(spec, dict) or not {"name", "questions", "metric"} <= set(spec):
        raise UserError("a benchmark needs name, questions and metric", where=str(file), seen=spec)
    for key in set(spec) - keys:
        raise UserError("unknown key", where=str(file), seen=key, hint=suggestion(key, keys))
    for key, is_right, what in _SHAPES:
        if key in spec and not is_right(spec[key]):
            raise UserError(what, where=f"{file}: {key}", seen=spec[key])
    metric = spec["metric"]
    plugin = plugin_file(metric, [file.parent])
    if plugin is None and metric not in SCORERS:
        hint = f"{suggestion(metric, SCORERS)}, or score.py:function"
        raise UserError("unknown metric", where=str(file), seen=metric, hint=hint)
    return OwnBenchmark(
        name=spec["name"],
        skill=spec.get("skill", spec["name"]),
        questions=file.parent / spec["questions"],
        images=file.parent / spec.get("images", "."),
        metric=metric,
        max_new_tokens=spec.get("max_new_tokens", 64),
        taught_by=tuple(spec.get("taught_by") or ()),
        plugin=plugin,
    )


def _spec(file: Path) -> Any:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = " ".join(str(getattr(error, "problem", None) or error).split())
        raise UserError(f"not valid YAML: {what}", where=str(file)) from None
