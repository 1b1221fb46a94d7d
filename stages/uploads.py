"""Upload files, written where they are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adaptinf.errors import UserError
from adaptinf.files import write_atomically
from adaptinf.scoring.files import Answers, read_answers
from adaptinf.scoring.items import Benchmark, Item
from adaptinf.scoring.result import (
    NO_LABELS,
    Result,
    Unscored,
    Uploaded,
    are_labelled,
    find_benchmark,
    read_items,
    score,
)
from adaptinf.scoring.uploads import upload_files


def score_and_upload(
    name: str, answers: Path, labels: Path, rules: str | None, out: Path
) -> tuple[Result | Unscored, Uploaded]:
    """Write a file of answers in its benchmark's upload form, and score it where labels tell how.

    Raises:
        UserError: as ``score_files`` does, or the answers are not those to all questions; then
            nothing is written.
    """
    benchmark, rules = find_benchmark(name, rules)
    items, given = read_items(benchmark, labels), read_answers(answers)
    uploaded = write_upload(benchmark, items, given, out)
    if are_labelled(items):
        return score(benchmark, items, given, rules), uploaded
    return Unscored(name, len(items), NO_LABELS), uploaded


def write_upload(
    benchmark: Benchmark, items: Sequence[Item], answers: Answers, out: Path
) -> Uploaded:
    """Write answers to all items as a server or an official tool takes them.

    Raises:
        UserError: as ``upload_files`` does, or the place cannot be written to.
    """
    files = upload_files(benchmark, items, answers)
    suffix = benchmark.upload.suffix if benchmark.upload else ""
    if suffix and (out.suffix != suffix or out.is_dir()):
        raise UserError(f"the upload is a file that ends in {suffix}", where=str(out))
    for name, content in files.contents.items():
        path = out / name if name else out
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
        except OSError as error:
            raise UserError("cannot be written", where=str(path), seen=str(error)) from error
    return Uploaded(str(out), files.note)
