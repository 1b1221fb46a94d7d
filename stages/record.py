"""``DONE``: what a finished stage was made from and what it wrote, sealed against damage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adaptinf.files import write_atomically

DONE = "DONE"
DAMAGED = "DAMAGED"
"""What ``DONE`` is renamed to where the files are no longer those that it tells of."""

_SEAL = "seal"
_FIELDS = frozenset(
    ("stage", "version", "fingerprint", "settings", "inputs", "read", "outputs", "counts")
)


def read_record(folder: Path) -> dict[str, Any] | None:
    """What ``DONE`` holds; None where there is none, or one that is not as it was written.

    One of a version that wrote no seal is taken as it is.
    """
    try:
        record = json.loads((folder / DONE).read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("fingerprint"), str):
        return None
    bare = {name: value for name, value in record.items() if name != _SEAL}
    whole = record[_SEAL] == digest_of(bare) if _SEAL in record else bare.keys() <= _FIELDS
    return record if whole else None


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write ``DONE`` with a seal: the SHA-256 of all the rest of it."""
    plain = json.loads(json.dumps(record))
    sealed = {**plain, _SEAL: digest_of(plain)}
    write_atomically(folder / DONE, json.dumps(sealed, indent=1) + "\n")


def outputs_digest(folder: Path) -> str | None:
    """One SHA-256 for all that a finished stage wrote, as ``DONE`` tells it; None without one."""
    record = read_record(folder)
    return None if record is None else digest_of(record.get("outputs"))


def mark_damaged(folder: Path) -> None:
    """Take a stage's ``DONE`` from it, so that the next run makes the stage anew."""
    (folder / DONE).replace(folder / DAMAGED)


def digest_of(value: object) -> str:
    """SHA-256 of the value as canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below ``folder``, by relative path; ``DONE`` left out."""
    return {
        path.relative_to(folder).as_posix(): file_digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != DONE
    }
