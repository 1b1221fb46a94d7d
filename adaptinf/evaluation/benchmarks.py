"""Benchmarks: a YAML file names the questions, the images, the metric and the skill."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from adaptinf.errors import UserError, suggestion
from adaptinf.evaluation.scorers import SCORERS, Scorer, scorer
from adaptinf.plugins import load_function, plugin_file


@dataclass(frozen=True, slots=True)
class Question:
    """One item. ``images`` are paths relative to the benchmark's image root."""

    question_id: str
    text: str
    answer: str
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What to ask, and how to score it.

    ``questions`` is a JSONL file in LLaVA's question format (``question_id``, ``text``, ``image``
    absent, a path or a list) with an ``answer``. ``taught_by`` names the datasets that train the
    skill; a benchmark of none is only watched for what the base model loses. ``plugin`` is the file
    of a metric ``file.py:function`` of one's own.
    """

    name: str
    skill: str
    questions: Path
    images: Path
    metric: str
    max_new_tokens: int
    taught_by: tuple[str, ...]
    plugin: Path | None = None

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

    def items(self, limit: int | None = None) -> list[Question]:
        """The questions in file order, the first ``limit`` of them.

        Raises:
            UserError: a line that is no JSON object or lacks a field, with file and line.
        """
        items = []
        with self.questions.open() as lines:
            for number, line in enumerate(lines, 1):
                if limit is not None and len(items) >= limit:
                    break
                items.append(self._item(line, number))
        return items

    def _item(self, line: str, number: int) -> Question:
        where = f"{self.questions}:{number}"
        try:
            row = json.loads(line)
            images = row.get("image") or []
            return Question(
                question_id=str(row["question_id"]),
                text=row["text"],
                answer=str(row["answer"]),
                images=(images,) if isinstance(images, str) else tuple(images),
            )
        except (ValueError, KeyError, AttributeError) as error:
            raise UserError(
                "a benchmark line needs question_id, text and answer",
                where=where,
                seen=line.strip()[:80],
            ) from error


def load_benchmark(file: Path) -> Benchmark:
    """Read one benchmark YAML; relative paths start at the YAML's folder."""
    spec: Any = yaml.safe_load(file.read_text())
    keys = {"name", "skill", "questions", "images", "metric", "max_new_tokens", "taught_by"}
    if not isinstance(spec, dict) or not {"name", "questions", "metric"} <= set(spec):
        raise UserError("a benchmark needs name, questions and metric", where=str(file), seen=spec)
    for key in set(spec) - keys:
        raise UserError("unknown key", where=str(file), seen=key, hint=suggestion(key, keys))
    metric = str(spec["metric"])
    plugin = plugin_file(metric, [file.parent])
    if plugin is None and metric not in SCORERS:
        hint = f"{suggestion(metric, SCORERS)}, or score.py:function"
        raise UserError("unknown metric", where=str(file), seen=metric, hint=hint)
    return Benchmark(
        name=str(spec["name"]),
        skill=str(spec.get("skill", spec["name"])),
        questions=file.parent / spec["questions"],
        images=file.parent / spec.get("images", "."),
        metric=metric,
        max_new_tokens=int(spec.get("max_new_tokens", 64)),
        taught_by=tuple(spec.get("taught_by") or ()),
        plugin=plugin,
    )


def find_benchmarks(
    folder: Path, wanted: str | Sequence[str], recipe_dir: Path = Path()
) -> list[Benchmark]:
    """The benchmarks that the recipe asks for: ``all`` of ``folder`` (by name), or a list in order.

    An entry of the list is a name, or the path of a YAML file: relative to the recipe's folder, or
    else to the working directory.

    Raises:
        UserError: none at all, an unknown name, or the same name twice.
    """
    known = {b.name: b for b in map(load_benchmark, sorted(folder.glob("*.yaml")))}
    chosen = list(known.values())
    if wanted != "all":
        chosen = [_named(name, known, recipe_dir) for name in wanted]
    if not chosen:
        raise UserError(
            "no benchmark, so that forgetting could not be measured",
            where="evaluate.benchmarks",
            hint=f"put YAML files under {folder}, or list their paths",
        )
    names = [benchmark.name for benchmark in chosen]
    for name in names:
        if names.count(name) > 1:
            raise UserError("named twice", where="evaluate.benchmarks", seen=name)
    return chosen


def _named(name: str, known: Mapping[str, Benchmark], recipe_dir: Path) -> Benchmark:
    if name in known:
        return known[name]
    for path in (recipe_dir / name, Path(name)):
        if path.suffix in {".yaml", ".yml"} and path.is_file():
            return load_benchmark(path)
    hint = suggestion(name, known) if known else "give the path of a benchmark's YAML file"
    raise UserError("unknown benchmark", where="evaluate.benchmarks", seen=name, hint=hint)
