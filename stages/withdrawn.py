"""What was withdrawn from a run: it stays away, whatever the recipe of the next start says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

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
    """The recipe without the tasks that were withdrawn from its run, and without what names them.

    Raises:
        UserError: no task is left.
    """
    gone = set(Withdrawn.read(recipe.output_dir).datasets)
    if not gone & {task.label for task in recipe.tasks}:
        return recipe
    tasks = tuple(task for task in recipe.tasks if task.label not in gone)
    if not tasks:
        raise UserError(
            "every dataset of this recipe was withdrawn from the run",
            where=str(recipe.output_dir / FILE),
            seen=sorted(gone),
        )
    select, evaluate = recipe.select, recipe.evaluate
    return recipe.model_copy(
        update={
            "tasks": tasks,
            "select": select.model_copy(
                update={name: _without(getattr(select, name), gone) for name in _SHARES}
            ),
            "evaluate": evaluate.model_copy(
                update={
                    "taught_by": {
                        benchmark: tuple(name for name in teachers if name not in gone)
                        for benchmark, teachers in evaluate.taught_by.items()
                    }
                }
            ),
        }
    )


_SHARES = ("floors", "ceilings")


def _without(shares: dict[str, float], gone: set[str]) -> dict[str, float]:
    return {name: share for name, share in shares.items() if name not in gone}
