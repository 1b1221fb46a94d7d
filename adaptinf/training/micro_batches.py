"""How many rows a device takes in one forward pass, and from which step on they became fewer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from adaptinf.errors import UserError
from adaptinf.files import write_atomically

FILE = "micro_batches.json"


@dataclass(frozen=True, slots=True)
class Change:
    """From this step of the optimiser on, counted from 1, so many rows in a forward pass."""

    from_step: int
    rows: int


@dataclass(frozen=True, slots=True)
class Part:
    """Steps with one number of rows in a forward pass: up to ``until``, or to the end."""

    rows: int
    until: int | None


@dataclass(frozen=True, slots=True)
class MicroBatches:
    """The rows of a forward pass on one device, of ``per_step`` rows that it has in a step.

    They become fewer where a step does not fit the memory, and the passes of a step more, so that a
    step keeps its rows. Changes are written down, so that a training that goes on after a kill
    makes them at the same steps.
    """

    per_step: int
    rows: int
    changes: tuple[Change, ...] = ()

    @classmethod
    def read(cls, folder: Path, per_step: int, rows: int) -> MicroBatches:
        """As written down in a training's folder, or ``rows`` to the end.

        Raises:
            UserError: the file is damaged.
        """
        file = folder / FILE
        if not file.exists():
            return cls(per_step, rows)
        try:
            told = json.loads(file.read_text())["changes"]
            changes = tuple(Change(int(each["from_step"]), int(each["rows"])) for each in told)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                "the record of smaller micro-batches cannot be read",
                where=str(file),
                seen=f"{type(error).__name__}: {error}",
                hint=f"remove the folder {folder}; its training then begins anew",
            ) from error
        return cls(per_step, rows, changes)

    def write(self, folder: Path, scratch: Path, rank: int) -> None:
        """Write them down; several ranks may come to the same end at the same moment."""
        told = {
            "why": "out of memory",
            "rows": self.rows,
            "changes": [{"from_step": c.from_step, "rows": c.rows} for c in self.changes],
        }
        scratch.mkdir(exist_ok=True)
        draft = scratch / f"{FILE}.{rank}"
        write_atomically(draft, json.dumps(told, indent=1) + "\n")
        draft.replace(folder / FILE)

    def after(self, step: int) -> Part:
        """What follows a step of the optimiser; 0 is the beginning."""
        rows = [c.rows for c in self.changes if c.from_step <= step + 1]
        later = [c.from_step - 1 for c in self.changes if c.from_step > step + 1]
        return Part(self._fitting(min([self.rows, *rows])), min(later, default=None))

    @property
    def fewest(self) -> int:
        """The rows of a forward pass at the end."""
        return self._fitting(min([self.rows, *(c.rows for c in self.changes)]))

    def halved(self, after: int) -> MicroBatches | None:
        """The same with half the rows, or fewer, after a step; None where it is one row already."""
        rows = self.after(after).rows
        if rows == 1:
            return None
        change = Change(after + 1, self._fitting(rows // 2))
        before = tuple(c for c in self.changes if c.from_step < change.from_step)
        return MicroBatches(self.per_step, self.rows, (*before, change))

    def _fitting(self, most: int) -> int:
        """The largest number of rows up to ``most`` that a step's are a multiple of."""
        return next(rows for rows in range(most, 0, -1) if self.per_step % rows == 0)
