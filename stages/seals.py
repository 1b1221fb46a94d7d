"""Digests of the files at the top of a run, that belong to no stage."""

from __future__ import annotations

import json
from pathlib import Path

from adaptinf.files import write_atomically
from stages.record import file_digest

FILE = "digests.json"

RESULTS = (
    *("matrix.json", "report.html", "cost.json"),
    *("config.resolved.yaml", "environment.json", "source_hashes.json"),
)
"""Files that every start writes again, but for ``cost.json``, which cannot be made anew."""


def are_sealed(run: Path) -> bool:
    """Whether the run has come to its end, and nothing has begun since."""
    return (run / FILE).is_file()


def seal_results(run: Path) -> None:
    """Write down the digests of all results: the last thing that a run does."""
    digests = {name: file_digest(run / name) for name in RESULTS if (run / name).is_file()}
    write_atomically(run / FILE, json.dumps(digests, indent=1) + "\n")


def unseal_results(run: Path) -> None:
    """Forget them: the results are about to change."""
    (run / FILE).unlink(missing_ok=True)


def reseal_result(run: Path, name: str) -> None:
    """One result of a finished run has been written again."""
    digests = _digests(run)
    if digests:
        digests[name] = file_digest(run / name)
        write_atomically(run / FILE, json.dumps(digests, indent=1) + "\n")


def damaged_results(run: Path) -> list[str]:
    """Names of results that are missing or not as they were written.

    Of a run that has not come to its end, those that are JSON and cannot be read.
    """
    if not are_sealed(run):
        return [name for name in RESULTS if name.endswith(".json") and not _is_json(run / name)]
    digests = _digests(run)
    if not digests:
        return [FILE]
    return [
        name
        for name, digest in digests.items()
        if not (run / name).is_file() or file_digest(run / name) != digest
    ]


def _digests(run: Path) -> dict[str, str]:
    try:
        found = json.loads((run / FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: str(digest) for name, digest in found.items() if name in RESULTS}


def _is_json(file: Path) -> bool:
    """Whether a file can be read, or is not there."""
    try:
        return not file.is_file() or isinstance(json.loads(file.read_bytes()), dict)
    except ValueError:
        return False
