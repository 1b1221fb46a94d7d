"""The rows of a run's matrix as models that another program can load."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from adaptinf.adapters.inspection import inspect_adapter
from adaptinf.errors import UserError, suggestion
from adaptinf.evaluation.answered import read_matrix, step_folder
from adaptinf.evaluation.bridged import FOLDER, model_of
from adaptinf.models.loading import ModelSource, load_model
from adaptinf.routes import UNMERGEABLE
from config import load_recipe
from stages.exports import merge_adapter, model_below, write_model


@dataclass(frozen=True, slots=True)
class Row:
    """The base model, or the model after a step: ``name`` as in the matrix.

    ``way`` is ``base``, ``merged`` (the adapter in the weights) or ``live`` (the adapter on them).
    """

    name: str
    folder: Path
    way: str

    @property
    def adapter(self) -> Path:
        """The folder of the step's adapter."""
        return self.folder / "train" / "adapter"

    @property
    def reads(self) -> tuple[Path, ...]:
        """The finished stage whose adapter the model has; what lies below it is in its record."""
        return () if self.way == "base" else (self.folder / "train",)

    @property
    def on_top(self) -> Path | None:
        """The adapter that is not in the weights."""
        return self.adapter if self.way == "live" else None

    @property
    def bridged(self) -> Path:
        """The folder of all that comes through lmms-eval."""
        return self.folder / FOLDER

    @property
    def model(self) -> Path:
        """Where the model is while it is asked."""
        return self.bridged / ".model"

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of the base model, and of the training."""
        return model_of(self.folder)

    @contextmanager
    def handed_over(self, source: ModelSource) -> Iterator[Path]:
        """The model, written for as long as it is asked."""
        # One that was killed may have left its own behind.
        shutil.rmtree(self.model, ignore_errors=True)
        self.bridged.mkdir(parents=True, exist_ok=True)
        try:
            self._write(source)
            yield self.model
        finally:
            shutil.rmtree(self.model, ignore_errors=True)

    def _write(self, source: ModelSource) -> None:
        if self.way == "merged":
            merge_adapter(self.adapter, self.model, source.name, source.dtype, source.revision)
        elif self.way == "live":
            below = model_below(self.adapter, inspect_adapter(self.adapter), source)
            write_model(below, source, self.model)
        else:
            # Written too, so that it is loaded in the same way, and in the recipe's number type.
            write_model(load_model(source), source, self.model)


def find_rows(run: Path, *, live: bool) -> list[Row]:
    """The rows of a run that has finished a step; ``live``: no adapter is merged.

    Raises:
        UserError: no run, or an adapter that cannot be read.
    """
    steps = read_matrix(run).steps
    rows = [Row("base", step_folder(run, steps, 0), "base")]
    for number in range(1, len(steps)):
        folder = step_folder(run, steps, number)
        route = inspect_adapter(folder / "train" / "adapter").route
        way = "live" if live or route in UNMERGEABLE else "merged"
        rows.append(Row(steps[number], folder, way))
    return rows


def chosen(rows: Sequence[Row], names: Sequence[str] | None) -> list[Row]:
    """Those of these names, in the order of the run; all of them where none are given.

    Raises:
        UserError: an unknown name.
    """
    known = [row.name for row in rows]
    for name in names or ():
        if name not in known:
            raise UserError(
                "no such step", where="--steps", seen=name, hint=suggestion(name, known)
            )
    return [row for row in rows if names is None or row.name in names]


def source_of(run: Path) -> ModelSource:
    """The base model of a run.

    Raises:
        UserError: it has no recipe.
    """
    file = run / "config.resolved.yaml"
    if not file.is_file():
        raise UserError("no config.resolved.yaml here", where=str(run), hint="give a run's folder")
    model = load_recipe(file, [f"output_dir={run}"]).model
    return ModelSource(model.name, model.revision, model.dtype, model.attention)
