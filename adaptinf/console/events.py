"""The record of a run for programs: one JSON object per line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class EventLog:
    """Appends to ``events.jsonl``; the file and its folder come with the first event.

    A line is written whole by a single call, so that a reader, or a process killed at any moment,
    never meets half of one.
    """

    path: Path

    def write(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Append ``{"time": UTC as ISO 8601, "kind": kind, **fields}``."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        record = {"time": now, "kind": kind, **_finite(fields)}
        line = json.dumps(record, allow_nan=False, default=str) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab", buffering=0) as file:
            file.write(line.encode())


def _finite(value: Any) -> Any:
    """``value`` with text for NaN and infinity, for which JSON has no word."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
