"""What was withdrawn from a run: it stays away, whatever the recipe of the next start says."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from adaptinf.errors import UserError
from adaptinf.files import write_atomically
from config import Recipe

FILE = "withdrawn.json"

_UID = re.compile(r"[A-Za-z0-9_.-]+:[0-9a-f]{20}")


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Names of tasks, and uids of rows, each in order."""

    datasets: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()

    @classmethod
    def read(cls, run: Path) -> Withdrawn:
        """What the run folder tells; nothing where it tells nothing.

        Raises:
            UserError: the file is damaged. Nobody knows then what may not be trained on.
        """
        file = run / FILE
        try:
            told = json.loads(file.read_bytes())
            found = cls(tuple(map(str, told["datasets"])), tuple(map(str, told["rows"])))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(
                "cannot be read",
                where=str(file),
                seen=f"{type(error).__name__}: {error}",
                hint="bring it back from a copy: it says what this run may never hold",
            ) from error
        return found

    def write(self, run: Path) -> None:
        """Write it down, so that every later start keeps to it."""
        write_atomically(run / FILE, json.dumps(asdict(self), indent=1) + "\n")

    def with_more(self, datasets: Iterable[str] = (), rows: Iterable[str] = ()) -> Withdrawn:
        """All of this and more."""
        return Withdrawn(
            tuple(sorted({*self.datasets, *datasets})), tuple(sorted({*self.rows, *rows}))
        )


def uids_in(file: Path) -> list[str]:
    """The uids in a file, one a line; blank lines and lines that begin with # are passed over.

    Raises:
        UserError: no such file, or a line that is no uid, with its number.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("cannot be read", where=str(file), seen=str(error)) from error
    stripped = [(number, line.strip()) for number, line in enumerate(lines, 1)]
    return [
        checked(line, f"{file}:{number}") for number, line in stripped if line and line[0] != "#"
    ]


def checked(uid: str, where: str) -> str:
    """The uid. Raises ``UserError`` for what is none."""
    if not _UID.fullmatch(uid):
        hint = "as in the column uid of selection.parquet: DATASET:20 hexadecimal digits"
        raise UserError("not the uid of a row", where=where, seen=uid, hint=hint)
    return uid


def standing(recipe: Recipe) -> Recipe:
    """The recipe without the tasks that were withdrawn from its run."""
    return without(recipe, Withdrawn.read(recipe.output_dir).datasets)


def without(recipe: Recipe, labels: Collection[str]) -> Recipe:
    """The recipe without some tasks, and without the shares and teachers that name them.

    Raises:
        UserError: no task is left, or the rest of the recipe does not hold without them.
    """
    gone = set(labels) & {task.label for task in recipe.tasks}
    if not gone:
        return recipe
    hint = "remove the run folder, or change the recipe and start with --fresh"
    where = str(recipe.output_dir)
    if gone == {task.label for task in recipe.tasks}:
        raise UserError(f"without {', '.join(sorted(gone))} no run is left", where=where, hint=hint)
    told: dict[str, Any] = recipe.model_dump(mode="json")
    told["tasks"] = [
        given
        for given, task in zip(told["tasks"], recipe.tasks, strict=True)
        if task.label not in gone
    ]
    for shares in ("floors", "ceilings"):
        for name in gone:
            told["select"][shares].pop(name, None)
    taught = told["evaluate"]["taught_by"]
    told["evaluate"]["taught_by"] = {
        benchmark: [name for name in teachers if name not in gone]
        for benchmark, teachers in taught.items()
    }
    try:
        rest = Recipe.model_validate(told)
    except ValidationError as error:
        raise UserError(
            f"without {', '.join(sorted(gone))} no run is left: {error.errors()[0]['msg']}",
            where=where,
            hint=hint,
        ) from error
    rest._recipe_dir = recipe.recipe_dir
    return rest
