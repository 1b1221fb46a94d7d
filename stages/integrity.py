"""Whether finished stages still are what they wrote, and which of them a run makes anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stages.record import DAMAGED, DONE, file_digest, mark_damaged, read_record
from stages.work import Work


@dataclass(frozen=True, slots=True)
class Inspection:
    """A finished stage's folder against its ``DONE``; paths are relative to the folder.

    ``damaged`` holds ``DONE`` itself where that is not as it was written: nothing is known of the
    other files then. Files whose names begin with a dot are those of systems, not of a run.
    """

    files: int = 0
    size: int = 0
    damaged: tuple[str, ...] = field(default=())
    missing: tuple[str, ...] = field(default=())
    surplus: tuple[str, ...] = field(default=())

    @property
    def is_sound(self) -> bool:
        """Whether all that was written is there as it was; more may be there."""
        return not self.damaged and not self.missing


def inspect_stage(folder: Path) -> Inspection:
    """Hash all that a finished stage wrote."""
    record = read_record(folder)
    if record is None or not isinstance(record.get("outputs"), dict):
        return Inspection(damaged=(DONE,))
    told: dict[str, str] = record["outputs"]
    found = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (DONE, DAMAGED)
    }
    kept = [name for name in told if name in found]
    return Inspection(
        files=len(kept),
        size=sum(found[name].stat().st_size for name in kept),
        damaged=tuple(name for name in kept if file_digest(found[name]) != told[name]),
        missing=tuple(name for name in told if name not in found),
        surplus=tuple(n for n, path in found.items() if n not in told and path.name[0] != "."),
    )


def mark_unsound(works: Sequence[Work], tell: Callable[[Work, Inspection], None]) -> None:
    """Take ``DONE`` from damaged stages of a walk that what is to be done would read.

    So nothing is ever made from damaged bytes, and what was made from a stage stands when the stage
    is made anew and writes the same.
    """
    looked: set[Path] = set()
    while True:
        to_do: set[Path] = set()
        for work in works:
            if to_do & set(work.reads) or work.done() is None:
                to_do.add(work.folder)
        read = {place for work in works if work.folder in to_do for place in work.reads} - looked
        looked |= read
        marked = False
        for work in works:
            if work.folder in read and work.done() is not None:
                found = inspect_stage(work.folder)
                if not found.is_sound:
                    mark_damaged(work.folder)
                    tell(work, found)
                    marked = True
        if not marked:
            return
