"""What a selection on one's own arrays leaves behind: the rows, a summary, the centroids."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from adaptinf.errors import UserError
from adaptinf.files import write_atomically
from selection import Selection
from stages.arrays import centroids
from stages.arrays.explanation import Explanation
from stages.arrays.inputs import Inputs
from stages.arrays.order import Files, Order
from stages.arrays.summary import explanation_text, summary_text

SUFFIXES = (".parquet", ".json", ".jsonl")


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """What is said at the end; ``groups`` are those of all rows of the pool."""

    out: Path
    groups: Sequence[str]
    summary: Mapping[str, Any]
    explained: Sequence[Explanation]
    seconds: float

    def text(self) -> str:
        """For people: the explanations, then the summary as a table."""
        parts = [explanation_text(row) for row in self.explained]
        parts.append(summary_text(self.summary, self.groups, self.seconds))
        return "\n\n".join([*parts, f"rows: {self.out.resolve()}"])

    def json(self) -> str:
        """For programs: the summary, the seconds, and what was asked to be explained."""
        explained = [asdict(row) for row in self.explained]
        told = {**self.summary, "seconds": round(self.seconds, 3), "explained": explained}
        return json.dumps(told, indent=1, allow_nan=False)


def check_outputs(files: Files) -> None:
    """Nothing when the files can be written as asked, their folders being made; else UserError."""
    _check_suffix(files.out, SUFFIXES)
    if files.out.suffix != ".parquet" and (
        files.rows is None or files.rows.suffix != files.out.suffix
    ):
        raise UserError(
            "chosen rows are written back in the format that --rows has",
            where=str(files.out),
            seen=None if files.rows is None else str(files.rows),
            hint="give --rows a file that ends alike, or write .parquet",
        )
    outputs = [files.out, files.summary]
    if files.save_centroids:
        _check_suffix(files.save_centroids, centroids.SUFFIXES)
        outputs.append(files.save_centroids)
    taken = {Path(path).resolve() for path in files.read}
    for path in outputs:
        if path.resolve() in taken:
            raise UserError("this would overwrite what is read or written", where=str(path))
        taken.add(path.resolve())
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError("no folder can be made here", where=str(path.parent)) from error


def summary_of(order: Order, inputs: Inputs, selection: Selection) -> dict[str, Any]:
    """The library's summary with the settings and the columns that were used; JSON-able."""
    return {
        **selection.summary,
        "settings": asdict(order.rules),
        "scores": list(inputs.pool.scores),
        "unused_columns": list(inputs.unused),
    }


def write_outputs(
    files: Files, inputs: Inputs, selection: Selection, summary: Mapping[str, Any]
) -> None:
    """Write all that was asked for, each file whole or not at all. Raises UserError if refused."""
    contents = {files.out: _rows(files, inputs, selection)}
    if files.save_centroids and selection.centroids is not None:
        suffix = files.save_centroids.suffix
        contents[files.save_centroids] = centroids.centroid_bytes(selection.centroids, suffix)
    contents[files.summary] = (json.dumps(summary, indent=1, allow_nan=False) + "\n").encode()
    for path, content in contents.items():
        try:
            write_atomically(path, content)
        except OSError as error:
            raise UserError("cannot be written", where=str(path), seen=str(error)) from error


def _rows(files: Files, inputs: Inputs, selection: Selection) -> bytes:
    if files.out.suffix != ".parquet" and inputs.rows is not None:
        return inputs.rows.excerpt(selection.indices).encode()
    table = selection.table
    if (groups := inputs.pool.groups) is not None:
        chosen = [groups[row] for row in selection.indices]
        table = table.append_column("group", pa.array(chosen, pa.string()))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue().to_pybytes())


def _check_suffix(path: Path, suffixes: Sequence[str]) -> None:
    if path.suffix not in suffixes:
        raise UserError(f"the name must end in {', '.join(suffixes)}", where=str(path))
