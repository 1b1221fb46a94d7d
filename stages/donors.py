"""Features of a pass that is made anew: rows for which they still hold are taken over, bit by bit.

They hold where the same model, by weights, adapters and settings, has seen the same row, which is
known by its uid. ``--fresh`` leaves them in ``featurize.before`` until the new pass is done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from adaptinf.data.pool import PoolTable, places, read_pool
from adaptinf.features.store import batch_digest, load_scores
from adaptinf.files import write_atomically
from stages.aside import aside, set_aside
from stages.batches import Positions, pool_batches
from stages.integrity import inspect_stage
from stages.record import outputs_digest, read_record

_WHOLE = "whole_batches.json"
_MODEL = ("model", "merged", "adapter")
"""Inputs of a pass that say under which model it is made."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Batches of rows, and of those that are not computed, by number, the places at the donor."""

    batches: list[Positions]
    given: Mapping[int, Positions] = field(default_factory=dict)

    @property
    def taken_over(self) -> int:
        """Rows that are not computed."""
        return sum(map(len, self.given.values()))


@dataclass(frozen=True, slots=True)
class Donor:
    """The pass that was made before, and its rows.

    With ``whole`` the result is that of a pass without a donor, to the bit: only batches of the
    same rows are taken over, since what is computed of a row depends a little on the others.
    """

    folder: Path
    uids: list[str]
    whole: frozenset[tuple[str, ...]] | None

    @classmethod
    def of(
        cls,
        stage: Path,
        version: int,
        settings: Mapping[str, Any],
        inputs: Mapping[str, str],
        adapters: Sequence[Path],
    ) -> Donor | None:
        """What stands beside the folder of a stage, where it was made under the same model."""
        folder = find_donor(stage, version, settings, inputs)
        told = set((read_record(folder) or {}).get("read", {}).values()) if folder else set()
        if folder is None or not all(outputs_digest(place) in told for place in adapters):
            return None
        file = folder / _WHOLE
        whole = frozenset(map(tuple, json.loads(file.read_text()))) if file.is_file() else None
        return cls(folder, load_scores(folder)["uid"].to_pylist(), whole)

    def plan(self, pool: PoolTable, rows: Positions, arrived: int, batch_tokens: int) -> Plan:
        """How the pool's ``rows`` are computed or taken over; batches are of places among them.

        Of rows that were there before step ``arrived``, nobody knows when they were computed: they
        are taken over in whole batches only.
        """
        names = pool.uids
        uids = [names[row] for row in rows]
        if self.whole is not None:
            batches = pool_batches(pool, rows, batch_tokens)
            named = [tuple(uids[i] for i in batch) for batch in batches]
            kept = {n: names for n, names in enumerate(named) if names in self.whole}
            return Plan(batches, {n: places(names, self.uids) for n, names in kept.items()})
        there = places(uids, self.uids)
        there[pool.numbers("arrived")[rows] != arrived] = -1
        new, known = np.flatnonzero(there < 0), np.flatnonzero(there >= 0)
        batches = [new[batch] for batch in pool_batches(pool, rows[new], batch_tokens)]
        taken = [known[batch] for batch in pool_batches(pool, rows[known], batch_tokens)]
        given = {len(batches) + n: there[batch] for n, batch in enumerate(taken)}
        return Plan([*batches, *taken], given)


def find_donor(
    stage: Path, version: int, settings: Mapping[str, Any], inputs: Mapping[str, str]
) -> Path | None:
    """The folder beside that of a stage, where it is sound and made under the same model."""
    folder = aside(stage)
    record = read_record(folder)
    if record is None or record["version"] != version:
        return None
    same = record["settings"] == json.loads(json.dumps(dict(settings)))
    same = same and all(record["inputs"].get(name) == inputs.get(name) for name in _MODEL)
    return folder if same and inspect_stage(folder).is_sound else None


def set_aside_whole(step: Path, before: Path | None, batch_tokens: int, drift: float) -> None:
    """Keep a step's features, to be taken over in whole batches; nothing where none can be.

    ``before`` is the folder of the features that this pass has copied from; ``drift`` is where rows
    were stale.
    """
    folder = step / "featurize"
    if read_record(folder) is None:
        return
    batches = _batches(step, before, batch_tokens, drift)
    if batches is not None:
        write_atomically(folder / _WHOLE, json.dumps(batches))
        set_aside(folder)


def _batches(
    step: Path, before: Path | None, batch_tokens: int, drift: float
) -> list[list[str]] | None:
    """Uids by batch of all rows that a finished pass has computed; None where that is not known."""
    manifest = json.loads((step / "featurize/manifest.json").read_text())
    told = manifest["settings"]
    pool = read_pool(step / "ingest/pool.parquet")
    uids: list[str] = load_scores(step / "featurize")["uid"].to_pylist()
    rows = places(uids, pool.uids)
    copied = np.zeros(len(uids), dtype=bool)
    if before is not None and told["refresh"] != "all":
        drifted = [name for name, change in told["drift"].items() if change > drift]
        datasets = np.array(pool.strings("dataset"))[rows]
        copied = places(uids, load_scores(before)["uid"].to_pylist()) >= 0
        copied &= ~np.isin(datasets, drifted)
    fresh = np.flatnonzero(~copied)
    batches = [fresh[batch] for batch in pool_batches(pool, rows[fresh], batch_tokens)]
    if "parts" in manifest or manifest["batches"]["sha256"] != batch_digest(batches):
        return None
    return [[uids[i] for i in batch] for batch in batches]
