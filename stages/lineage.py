"""Which trainings a model comes from: those in its weights, and the one whose adapter is on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stages.work import Work


class Layers(Protocol):
    """Folders of adapters: of those in a model's weights, in that order, and of the one on it."""

    @property
    def merged_folders(self) -> tuple[Path, ...]:
        """Those in the weights."""

    @property
    def folder(self) -> Path | None:
        """That on the model; None: a fresh one."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a model is made of.

    ``merged``: trainings whose adapters are in the weights, in that order. ``top``: the one whose
    adapter is on them; None: a fresh one.
    """

    merged: tuple[Work, ...] = ()
    top: Work | None = None

    @classmethod
    def after(cls, trainings: Sequence[Work], across_steps: str) -> Lineage:
        """Of the model that is asked and looked through after so many steps."""
        if not trainings:
            return cls()
        below = tuple(trainings[:-1]) if across_steps == "merge_and_new" else ()
        return cls(below, trainings[-1])

    @classmethod
    def before(cls, trainings: Sequence[Work], across_steps: str) -> Lineage:
        """Of the model whose adapter the next step trains."""
        if across_steps == "merge_and_new":
            return cls(tuple(trainings))
        return cls(top=trainings[-1] if trainings and across_steps == "continue" else None)

    @property
    def inputs(self) -> dict[str, str]:
        """Fingerprints of the latest trainings, each of which has those before it in its own."""
        latest = {"merged": self.merged[-1:], "adapter": (self.top,) if self.top else ()}
        return {name: works[0].fingerprint for name, works in latest.items() if works}

    @property
    def folders(self) -> tuple[Path, ...]:
        """Folders of all trainings whose adapters are read."""
        return tuple(work.folder for work in (*self.merged, *([self.top] if self.top else ())))

    @property
    def merged_folders(self) -> tuple[Path, ...]:
        """Folders of the adapters in the weights."""
        return tuple(work.folder / "adapter" for work in self.merged)

    @property
    def folder(self) -> Path | None:
        """Folder of the adapter on the model."""
        return self.top.folder / "adapter" if self.top else None
