"""One stage of one step as a transaction: do it once, whole, and know what it was made from."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from adaptinf.disk import needs_room
from adaptinf.distributed import Ranks
from adaptinf.errors import UserError
from adaptinf.files import write_atomically
from adaptinf.notice import Notice
from stages.aside import forget
from stages.record import digest_of, file_digests, outputs_digest, read_record, write_record

_BEGUN = "BEGUN"


class Progress(Protocol):
    """What a stage tells about itself while it runs."""

    def total(self, rows: int, done: int = 0) -> None:
        """How many rows there are; ``done`` of them come from an interrupted run."""

    def advance(self, rows: int) -> None:
        """So many more rows are done."""

    def note(self, text: str) -> None:
        """Something worth a line."""


class Silent:
    """Progress that nobody is told of."""

    def total(self, rows: int, done: int = 0) -> None:
        """Nothing."""

    def advance(self, rows: int) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Heeding:
    """Progress after each part of which a notice is heeded: what is told as done is kept."""

    told: Progress
    notice: Notice

    def total(self, rows: int, done: int = 0) -> None:
        """Told on."""
        self.told.total(rows, done)

    def advance(self, rows: int) -> None:
        """Told on. Raises ``Interrupted`` where notice has been given."""
        self.told.advance(rows)
        self.notice.heed()

    def note(self, text: str) -> None:
        """Told on."""
        self.told.note(text)


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows in, rows kept, and rows dropped by reason: what came in is what these account for."""

    rows_in: int
    kept: int
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Work:
    """A stage with all that decides its output, ready to run.

    ``settings`` are the recipe's values that matter to it, ``inputs`` the fingerprints of what it
    reads; ``version`` is raised by hand when the stage's output changes its meaning. ``perform``
    writes into the folder it is given; called again on the same folder after a kill, it goes on.
    ``rows`` is how many rows there are to do, where that is known before. A ``shared`` stage is
    performed by all ranks of a launch together, any other by the leader while the others wait.
    ``reads`` are the folders of finished stages that ``perform`` opens.
    """

    step: str
    stage: str
    version: int
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    folder: Path
    perform: Callable[[Path, Progress], Counts]
    rows: int | None = None
    shared: bool = False
    reads: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """``1-llava/train`` or ``1-llava/evaluate/colour``."""
        parts = self.folder.parts
        return "/".join(parts[parts.index(self.step) :])

    @property
    def fingerprint(self) -> str:
        """SHA-256 over stage, version, settings and inputs."""
        described = [self.stage, self.version, dict(self.settings), dict(self.inputs)]
        return digest_of(described)

    def done(self) -> dict[str, Any] | None:
        """What ``DONE`` holds, when the stage has been finished with the same fingerprint.

        None also where a stage that it reads was made anew since and wrote other bytes.

        Raises:
            UserError: it has been finished with other settings or from other inputs.
        """
        record = read_record(self.folder)
        if record is None:
            return None
        if record["fingerprint"] == self.fingerprint:
            told, now = record.get("read", {}), self._read()
            return record if all(told.get(name, now[name]) == now[name] for name in now) else None
        raise UserError(
            f"{self.name} was made with another recipe: {self.difference()}",
            where=str(self.folder),
            hint="choose another output_dir, or add --fresh to make it and what follows anew",
        )

    def is_drifted(self) -> bool:
        """Whether a finished result of another recipe stands in the folder."""
        record = read_record(self.folder)
        return record is not None and record["fingerprint"] != self.fingerprint

    def run(self, progress: Progress, ranks: Ranks | None = None) -> dict[str, Any]:
        """Perform in a temporary folder, rename it, then drop ``DONE``; returns its content."""
        ranks = ranks or Ranks()
        draft = self.folder.with_name(self.folder.name + ".tmp")
        if ranks.leads:
            self._begin(draft)
        ranks.meet()
        with needs_room(draft):
            if self.shared:
                counts = self.perform(draft, progress)
            elif ranks.leads:
                with ranks.alone():
                    counts = self.perform(draft, progress)
        ranks.meet()
        if ranks.leads:
            self._finish(draft, counts)
        ranks.meet()
        record = read_record(self.folder)
        assert record is not None, "written just now"
        return record

    def _begin(self, draft: Path) -> None:
        begun, made_from = draft / _BEGUN, digest_of([self.fingerprint, self._read()])
        if not (begun.is_file() and begun.read_bytes() == made_from.encode()):
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            write_atomically(begun, made_from)

    def _finish(self, draft: Path, counts: Counts) -> None:
        (draft / _BEGUN).unlink()
        shutil.rmtree(self.folder, ignore_errors=True)
        draft.rename(self.folder)
        record = {
            "stage": self.stage,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "settings": dict(self.settings),
            "inputs": dict(self.inputs),
            "read": self._read(),
            "outputs": file_digests(self.folder),
            "counts": {
                "in": counts.rows_in,
                "kept": counts.kept,
                "dropped": dict(sorted(counts.dropped.items())),
            },
        }
        write_record(self.folder, record)
        forget(self.folder)

    def _read(self) -> dict[str, str]:
        """Digests of what the finished stages wrote that this one reads, by relative folder."""
        found = {os.path.relpath(place, self.folder): outputs_digest(place) for place in self.reads}
        return {name: digest for name, digest in found.items() if digest is not None}

    def difference(self) -> str:
        """In what the finished result that stands in the folder was made otherwise."""
        record = read_record(self.folder)
        if record is None:
            return ""
        old, new = record["settings"], json.loads(json.dumps(dict(self.settings)))
        changed = [
            f"{key} was {_told(old, key)}, is {_told(new, key)}"
            for key in sorted({*old, *new})
            if old.get(key) != new.get(key)
        ]
        if record["version"] != self.version:
            changed.append(f"version {record['version']} of the stage, now {self.version}")
        inputs = sorted({*record["inputs"], *self.inputs})
        changed += [f"other {k}" for k in inputs if record["inputs"].get(k) != self.inputs.get(k)]
        return "; ".join(changed)


def _told(settings: Mapping[str, Any], key: str) -> str:
    """A setting's value; newer settings are told only where they are not as by default."""
    return repr(settings[key]) if key in settings else "not set"


def is_done(work: Work) -> bool:
    """Whether this very stage is finished, and not one of another recipe in its folder."""
    return not work.is_drifted() and work.done() is not None


def derived_seed(seed: int, *names: str | int) -> int:
    """A 31-bit seed of its own for one part of one step."""
    return int(digest_of([seed, *names])[:8], 16) >> 1
