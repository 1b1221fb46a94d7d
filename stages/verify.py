"""``adaptinf verify``: is a run still what it wrote?"""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from adaptinf.errors import UserError
from stages.integrity import Inspection, inspect_stage
from stages.lock import locked
from stages.record import DAMAGED, DONE, mark_damaged
from stages.seals import damaged_results

_DEPTHS = {"evaluate": 2, "lmms": 2, "overlap": 2}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is found of a run: ``stages`` by name, and the names of those that are to be made anew.

    ``bare`` have files but no ``DONE``. ``results`` are files at the top of the run that are not as
    they were written, ``unread`` lines of ``events.jsonl`` that are no events, from 1.
    """

    run: Path
    stages: dict[str, Inspection]
    bare: tuple[str, ...]
    redone: tuple[str, ...]
    results: tuple[str, ...]
    unread: tuple[int, ...]

    @property
    def is_sound(self) -> bool:
        """Whether all is as it was written, and nothing beside it."""
        whole = all(found.is_sound and not found.surplus for found in self.stages.values())
        return whole and not (self.bare or self.redone or self.results)

    def json(self) -> str:
        """For programs; paths are relative to the stage's folder."""
        at_fault = {
            name: {kind: list(getattr(found, kind)) for kind in ("damaged", "missing", "surplus")}
            for name, found in self.stages.items()
            if not found.is_sound or found.surplus
        }
        told = {
            "run": str(self.run),
            "sound": self.is_sound,
            "checked": {"stages": len(self.stages), "files": self._files, "bytes": self._size},
            "stages": at_fault,
            "without_done": list(self.bare),
            "made_anew_by_next_run": list(self.redone),
            "results": list(self.results),
            "unreadable_events": list(self.unread),
        }
        return json.dumps(told, indent=1)

    def text(self) -> str:
        """For people: a line for each stage that is at fault, and the verdict."""
        lines = []
        for name, found in self.stages.items():
            faults = [
                f"{kind} {', '.join(files)}"
                for kind in ("damaged", "missing", "surplus")
                if (files := getattr(found, kind))
            ]
            if faults:
                lines.append(f"{name}: {'; '.join(faults)}")
        lines += [f"{name}: no DONE" for name in self.bare]
        lines += [f"{name}: damaged" for name in self.results]
        if self.unread:
            listed = ", ".join(map(str, self.unread[:5]))
            lines.append(f"events.jsonl: no events in {len(self.unread)} lines (as in {listed})")
        lines += self._advice()
        size = f"{len(self.stages)} stages, {self._files:,} files, {self._size / 1e6:,.1f} MB"
        lines.append(f"{size}: {'as they were written' if self.is_sound else 'not all as written'}")
        return "\n".join(lines)

    def _advice(self) -> list[str]:
        lines = []
        bridged = [name for name in self.redone if "/lmms/" in name]
        own = [name for name in self.redone if "/lmms/" not in name]
        if own:
            lines.append(f"the next run-lifelong makes anew: {', '.join(own)}")
        if bridged:
            lines.append(f"the next adaptinf lmms asks anew: {', '.join(bridged)}")
        if any(found.surplus for found in self.stages.values()):
            lines.append("surplus files are nobody's: take them elsewhere")
        if self.results:
            lines.append("the next run-lifelong writes damaged results again (costs cannot be)")
        return lines

    @property
    def _files(self) -> int:
        return sum(found.files for found in self.stages.values())

    @property
    def _size(self) -> int:
        return sum(found.size for found in self.stages.values())


def verify_run(run: Path, *, look_only: bool = False) -> Verdict:
    """Hash all that the finished stages of a run wrote, and mark those that are damaged.

    A stage that is marked is made anew by the next run, as is one without ``DONE``. ``look_only``
    changes nothing, and so also works beside a run.

    Raises:
        UserError: no run, or a process is at work in it.
    """
    if not (run / "steps").is_dir():
        hint = "give the output_dir of a run that has begun"
        raise UserError("no run here", where=str(run), hint=hint)
    with nullcontext() if look_only else locked(run):
        steps = run / "steps"
        folders = sorted(file.parent for file in steps.glob(f"*/**/{DONE}"))
        stages = {folder.relative_to(steps).as_posix(): folder for folder in folders}
        found = {name: inspect_stage(folder) for name, folder in stages.items()}
        damaged = [name for name, one in found.items() if not one.is_sound]
        for name in () if look_only else damaged:
            mark_damaged(stages[name])
        marked, bare = _without_done(steps)
        return Verdict(
            run=run,
            stages=found,
            bare=bare,
            redone=tuple(sorted({*marked, *bare})),
            results=tuple(damaged_results(run)),
            unread=tuple(_no_events(run / "events.jsonl")),
        )


def _without_done(steps: Path) -> tuple[list[str], tuple[str, ...]]:
    """Stages that are marked as damaged, and those that have files and nothing to tell of them.

    What is still being written (``NAME.tmp``) is neither.
    """
    marked: set[str] = set()
    bare: set[str] = set()
    for file in steps.rglob("*"):
        parts = file.relative_to(steps).parts
        if not file.is_file() or any(p[0] == "." or p.endswith(".tmp") for p in parts):
            continue
        depth = 1 + _DEPTHS.get(parts[1], 1) if len(parts) > 1 else 1
        if parts[1:3] == ("overlap", "benchmarks"):
            depth += 1
        folder = steps.joinpath(*parts[:depth])
        if depth < len(parts) and not (folder / DONE).is_file():
            name = "/".join(parts[:depth])
            (marked if (folder / DAMAGED).is_file() else bare).add(name)
    return sorted(marked), tuple(sorted(bare))


def _no_events(file: Path) -> list[int]:
    if not file.is_file():
        return []
    return [
        number
        for number, line in enumerate(file.read_bytes().splitlines(), 1)
        if not _is_object(line)
    ]


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
