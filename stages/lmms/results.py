"""What lmms-eval leaves in its output folder, read without trusting it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptinf.errors import UserError
from adaptinf.scoring.files import json_file, json_lines

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""Names of tasks: those of folders, on any system."""

_BESIDE = re.compile(
    r".*_(stderr(_clt|_clustered)?|(expected|consensus)_accuracy|internal_variance|consistency_rate)"
)
"""Numbers about a metric, which stand beside it."""

ROUNDED = 1e-4
"""How far a score that a task has rounded may lie from the mean of its items, as a share."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question and its answer; ``score`` is None where the metric is no number of one item."""

    question_id: str
    prompt: str
    text: str
    answer: str
    score: float | None


@dataclass(frozen=True, slots=True)
class TaskResult:
    """A task's numbers in the unit of lmms-eval, the metric that it names first being its headline.

    ``metrics`` are all of them by name, a value and a standard error each. ``items`` are none
    where lmms-eval has more than one answer to a question.
    """

    name: str
    metric: str
    score: float
    stderr: float | None
    higher_is_better: bool | None
    n: int
    metrics: dict[str, tuple[float, float | None]]
    items: tuple[Item, ...]

    @property
    def shares(self) -> list[float] | None:
        """Scores of the items in percent, where the headline is their mean; None elsewhere.

        The headline may be a share or in percent, what is better must be higher. A sum, or F1, is
        not a mean, and CIDEr goes beyond 1: such have no place among accuracies.
        """
        scores = [item.score for item in self.items if item.score is not None]
        if not scores or len(scores) < len(self.items) or self.higher_is_better is False:
            return None
        mean = sum(scores) / len(scores)
        told = (self.score, self.score / 100)
        if not all(0 <= score <= 1 for score in scores) or all(
            abs(mean - value) > ROUNDED for value in told
        ):
            return None
        return [100 * score for score in scores]


def read_results(out: Path, task: str) -> list[TaskResult]:
    """What a call for one task has given: the task's result, or those of a group's tasks.

    A group that has a number of its own is one result.

    Raises:
        UserError: no results, or not in the form that lmms-eval writes.
    """
    files = sorted(out.rglob("*_results.json"))
    if len(files) != 1:
        seen = ", ".join(file.name for file in files) or "none"
        raise UserError("expected one file *_results.json", where=str(out), seen=seen)
    try:
        given = _Given(files[0], json_file(files[0]))
        return [given.result(name) for name in given.numbered(task)]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(
            "not results as lmms-eval writes them", where=str(files[0]), seen=repr(error)
        ) from error


class _Given:
    """One file of results, with the files of samples beside it."""

    def __init__(self, file: Path, content: Mapping[str, Any]) -> None:
        self._file = file
        self._results: Mapping[str, Mapping[str, Any]] = content["results"]
        self._groups: Mapping[str, Sequence[str]] = content.get("group_subtasks") or {}
        self._configs: Mapping[str, Mapping[str, Any]] = content.get("configs") or {}
        self._better: Mapping[str, Mapping[str, Any]] = content.get("higher_is_better") or {}
        self._sizes: Mapping[str, Mapping[str, Any]] = content.get("n-samples") or {}

    def numbered(self, task: str) -> list[str]:
        """The task itself if it has a number, else the nearest below it that have."""
        if _numbers(self._results.get(task, {})):
            return [task]
        below = self._groups.get(task) or ()
        if task not in self._results and task not in self._groups:
            # A tag stands nowhere: what is here, and in no group, are its tasks.
            grouped = {name for names in self._groups.values() for name in names}
            below = [name for name in self._results if name not in grouped]
        found = [name for child in below for name in self.numbered(child)]
        if not found:
            raise UserError(
                f"lmms-eval gives no number for {task}",
                where=str(self._file),
                hint="tasks whose answers go to a server or to a judge have none here",
            )
        return list(dict.fromkeys(found))

    def result(self, name: str) -> TaskResult:
        leaves = list(self._leaves(name))
        told = _numbers(self._results[name])
        key = self._headline(told, leaves)
        metric = key.removesuffix(",none")
        items = [item for leaf in leaves for item in self._items(leaf, key, alone=leaf == name)]
        score, stderr = told[key]
        return TaskResult(
            name=_checked(name),
            metric=metric,
            score=score,
            stderr=stderr,
            higher_is_better=self._better.get(leaves[0], {}).get(key.rpartition(",")[0]),
            n=sum(int(self._sizes[leaf]["effective"]) for leaf in leaves),
            metrics={key.removesuffix(",none"): value for key, value in told.items()},
            items=tuple(items),
        )

    def _leaves(self, name: str) -> Iterator[str]:
        if below := self._groups.get(name):
            for child in below:
                yield from self._leaves(child)
        else:
            yield _checked(name)

    def _headline(self, told: Mapping[str, Any], leaves: Sequence[str]) -> str:
        """The first of the metrics, in the order of the task's own list."""
        listed = self._configs.get(leaves[0], {}).get("metric_list") or []
        for metric in (entry["metric"] for entry in listed):
            for key in told:
                if key.rpartition(",")[0] == metric:
                    return key
        return next(iter(told))

    def _items(self, leaf: str, key: str, *, alone: bool) -> list[Item]:
        """The samples of a task in their order; none where a question is there more than once."""
        date = self._file.name.removesuffix("_results.json")
        file = self._file.with_name(f"{date}_samples_{leaf}.jsonl")
        field = str(self._configs.get(leaf, {}).get("score_key") or "score")
        rows = [row for _, row in json_lines(file)]
        idents = [row["doc_id"] for row in rows]
        if len(set(idents)) < len(idents):
            return []
        if len(rows) != self._sizes[leaf]["effective"]:
            raise UserError(
                "not as many samples as lmms-eval counts",
                where=str(file),
                seen=len(rows),
                hint=f"expected {self._sizes[leaf]['effective']}",
            )
        ahead = "" if alone else f"{leaf}/"
        metric = key.rpartition(",")[0]
        return [
            Item(
                question_id=f"{ahead}{row['doc_id']}",
                prompt=_text(row["input"]),
                text=_text(row["filtered_resps"]),
                answer=_text(row["target"]),
                score=_score(row.get(metric), field),
            )
            for row in rows
        ]


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise UserError("a task's name that cannot be a folder's", seen=name)
    return name


def _numbers(entry: Mapping[str, Any]) -> dict[str, tuple[float, float | None]]:
    """Values and standard errors by ``metric,filter``; those that are no finite number left out."""
    found = {}
    for key, value in entry.items():
        metric, _, chosen = key.rpartition(",")
        number = _number(value)
        if metric and number is not None and not _BESIDE.fullmatch(metric):
            # Its ``stderr_clt`` is that of the items' mean even where the metric is none, as in F1.
            found[key] = (number, _number(entry.get(f"{metric}_stderr,{chosen}")))
    return found


def _score(value: Any, field: str) -> float | None:
    """Of one item: a number, or what stands under ``field`` of an object."""
    return _number(value.get(field) if isinstance(value, dict) else value)


def _number(value: Any) -> float | None:
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _text(value: Any) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
