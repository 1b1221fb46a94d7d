"""What a run folder holds, read into plain objects; parts that are not there stay out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from adaptinf.errors import UserError
from adaptinf.evaluation import AccuracyMatrix
from adaptinf.evaluation.answered import bridged_columns, read_matrix, step_folder
from adaptinf.evaluation.bridged import BridgedColumn


@dataclass(frozen=True, slots=True)
class Cluster:
    """One pseudo-skill of a selection; ``entropies`` in bits by scorer."""

    name: str
    size: int
    budget: int
    scorer: str | None
    entropies: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Selection:
    """What one step chose to train on; ``share`` counts selected rows by dataset."""

    method: str
    pool_size: int
    selected: int
    share: Mapping[str, int]
    excluded: Mapping[str, int]
    clusters: tuple[Cluster, ...]


@dataclass(frozen=True, slots=True)
class Chosen:
    """How well ``adaptinf chat`` chooses a step by itself, see ``adaptinf.chat.learning``."""

    questions: int
    right: float
    interval: tuple[float, float]
    equal: float
    auto: float
    latest: float
    best: float


@dataclass(frozen=True, slots=True)
class Findings:
    """A run as far as it has come.

    ``selections`` and ``seconds`` (stage to seconds) are by the name of the step's folder.
    ``image_roots`` is by dataset, and by ``benchmark:NAME`` for evaluation images. ``bridged`` are
    all columns of lmms-eval, of which the matrix has those that are whole.
    """

    folder: Path
    matrix: AccuracyMatrix
    selections: Mapping[str, Selection]
    seconds: Mapping[str, Mapping[str, float]]
    recipe_text: str
    recipe: Mapping[str, Any]
    versions: Mapping[str, str]
    image_roots: Mapping[str, Path]
    bridged: Sequence[BridgedColumn]
    choice: Chosen | None = None

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of the steps after the base model, which are their folders' names."""
        return tuple(self.matrix.steps[1:])

    def step_folder(self, row: int) -> Path:
        """Folder of the step that wrote ``row`` of the matrix."""
        return step_folder(self.folder, self.matrix.steps, row)


def read_findings(folder: Path) -> Findings:
    """Read the run in ``folder``.

    Raises:
        UserError: there is no ``matrix.json``, or a file is not what a run writes.
    """
    matrix = read_matrix(folder)
    environment = _read_json(folder / "environment.json")
    recipe_file = folder / "config.resolved.yaml"
    recipe_text = _read_text(recipe_file) if recipe_file.is_file() else ""
    selections = {step: _selection(folder / "steps" / step) for step in matrix.steps[1:]}
    return Findings(
        folder=folder,
        matrix=matrix,
        selections={step: found for step, found in selections.items() if found is not None},
        seconds=_seconds(folder / "cost.json"),
        recipe_text=recipe_text,
        recipe=_recipe(recipe_text, recipe_file),
        versions=_texts(environment, "versions", folder),
        image_roots={n: Path(p) for n, p in _texts(environment, "image_roots", folder).items()},
        bridged=bridged_columns(folder, matrix.steps),
        choice=_choice(folder / "chat" / "choice.json", matrix.steps),
    )


def _choice(file: Path, steps: Sequence[str]) -> Chosen | None:
    """What a chat has measured; None where none has, or when the run had other steps."""
    told = _read_json(file)
    measured = told.get("measured")
    if not measured or told.get("latest") != steps[-1]:
        return None
    try:
        low, high = map(float, measured["interval"])
        shares = [float(measured[name]) for name in ("equal", "auto", "latest", "best")]
        right, questions = float(measured["right"]), int(measured["questions"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError("lacks a key", where=str(file), seen=str(error)) from None
    return Chosen(questions, right, (low, high), *shares)


def _texts(environment: dict[str, Any], key: str, folder: Path) -> dict[str, str]:
    found = environment.get(key, {})
    if not isinstance(found, dict):
        raise UserError(f"{key} are no object", where=str(folder / "environment.json"), seen=found)
    return {name: str(value) for name, value in found.items()}


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError("not UTF-8", where=str(file)) from None


def _read_json(file: Path) -> dict[str, Any]:
    """The object in ``file``, empty where there is no such file."""
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError("not valid JSON", where=str(file), seen=str(error)) from None
    if not isinstance(content, dict):
        raise UserError("not a JSON object", where=str(file))
    return content


def _recipe(text: str, file: Path) -> dict[str, Any]:
    try:
        recipe = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError("not valid YAML", where=str(file), seen=str(error)) from None
    return recipe if isinstance(recipe, dict) else {}


def _selection(step: Path) -> Selection | None:
    file = step / "select" / "summary.json"
    summary = _read_json(file)
    if not summary:
        return None
    try:
        return Selection(
            method=str(summary["method"]),
            pool_size=int(summary["n"]),
            selected=int(summary["selected"]),
            share={str(name): int(part) for name, part in summary["share"].items()},
            excluded=summary.get("excluded") or {},
            clusters=tuple(
                Cluster(
                    name=str(entry["cluster"]),
                    size=int(entry["size"]),
                    budget=int(entry["budget"]),
                    scorer=entry.get("scorer"),
                    entropies=entry.get("entropies") or {},
                )
                for entry in summary.get("clusters") or []
            ),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            "a selection summary lacks a key", where=str(file), seen=str(error)
        ) from None


def _seconds(file: Path) -> dict[str, dict[str, float]]:
    try:
        return {
            step["step"]: {name: float(cost["seconds"]) for name, cost in step["stages"].items()}
            for step in _read_json(file).get("steps", [])
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError("a cost entry lacks a key", where=str(file), seen=str(error)) from None
