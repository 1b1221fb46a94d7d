"""``adaptinf check``: a dataset as a run would read it."""

from __future__ import annotations

import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pydantic import ValidationError

from adaptinf.console import count_text
from adaptinf.console.text import printable
from adaptinf.data.collator import Collator
from adaptinf.data.ingest import Ingested, ingest
from adaptinf.data.masks import masked, masked_text
from adaptinf.data.pool import PoolBuilder, PoolTable
from adaptinf.data.rows import Remark
from adaptinf.data.source import Source, count_rows, find_source
from adaptinf.errors import UserError
from adaptinf.models.loading import ModelSource
from adaptinf.report.rows import write_rows_page
from config import Columns
from stages.context import encoder_of
from stages.display import first_seeing, lengths, shown_set

_EXAMPLES = 3
_WIDTH = 96


@dataclass(frozen=True, slots=True)
class Request:
    """What to check, and how: see the command's options."""

    dataset: str
    format: str | None = None
    images: Path | None = None
    columns: Mapping[str, str] | None = None
    model: str = "tiny"
    rows: int = 1000
    strict: bool = False
    page: Path | None = None


def columns_of(given: Sequence[str]) -> Mapping[str, str] | None:
    """Columns as the command line gives them, ``question=prompt``.

    Raises:
        UserError: no such column of ours, or they make no conversation.
    """
    pairs = [text.partition("=") for text in given]
    for ours, equals, theirs in pairs:
        if not (equals and theirs) or ours not in Columns.model_fields:
            hint = f"OURS=NAME, ours one of {', '.join(Columns.model_fields)}"
            raise UserError("not a column", where="--column", seen=ours, hint=hint)
    if not pairs:
        return None
    try:
        return Columns.model_validate({ours: theirs for ours, _, theirs in pairs}).given
    except ValidationError as error:
        raise UserError(error.errors()[0]["msg"], where="--column") from error


def check_dataset(request: Request, root: Path) -> str:
    """Read the first rows of a dataset as a run does, and say what was found.

    Raises:
        UserError: it cannot be read, not one row can be used, or, when ``strict``, the first
            that cannot.
    """
    encoder = encoder_of(ModelSource(request.model))
    with tempfile.TemporaryDirectory() as scratch:
        media = Path(scratch)
        source = find_source(
            request.dataset,
            root=root,
            media=media,
            recipe_dir=Path.cwd(),
            format=request.format,
            images=request.images and request.images.absolute(),
            columns=request.columns,
        )
        tables: list[pa.Table] = []
        found = ingest(
            source,
            PoolBuilder(tables.append),
            encoder,
            1,
            media,
            limit=request.rows,
            strict=request.strict,
        )
        pool = PoolTable.of(tables)
        collator = Collator(encoder, lambda dataset: source.images)
        total = count_rows(source, media)
        if request.page is not None:
            shown = shown_set(
                source.name,
                pool,
                collator,
                read=found.counts.rows_in,
                problems=found.counts.dropped,
                notes=found.counts.noted,
            )
            write_rows_page(request.page, source.name, [shown])
        return "\n".join(_told(source, total, found, pool, collator))


def _told(
    source: Source, total: int, found: Ingested, pool: PoolTable, collator: Collator
) -> list[str]:
    counts = found.counts
    shortest, middle, longest = lengths(pool)
    lines = [
        f"{source.name}: {count_text(total)} rows, read as {source.format}",
        f"of the first {count_text(counts.rows_in)}: {count_text(counts.kept)} usable, of"
        f" {shortest} to {longest} tokens, {middle} in the middle",
    ]
    if counts.shortened:
        lines.append(f"{count_text(counts.shortened)} are cut to the longest length")
    lines += _by_reason("left out", counts.dropped, found.dropped)
    lines += _by_reason("kept, and noted", counts.noted, found.noted)
    sample = first_seeing(pool)
    lines += ["", f"row {printable(sample.source_id)} ([[ ]] carries the loss)"]
    for line in printable(masked_text(masked(collator, sample))).splitlines():
        lines += textwrap.wrap(line, _WIDTH, initial_indent="  ", subsequent_indent="  ")
    return lines


def _by_reason(what: str, counts: Mapping[str, int], remarks: list[Remark]) -> list[str]:
    """A line per reason: how many rows, and the numbers of the first of them."""
    lines = []
    for reason, count in counts.items():
        rows = [remark for remark in remarks if remark.reason == reason][:_EXAMPLES]
        named = ", ".join(
            f"{remark.row}" + (f" ({printable(remark.detail)})" if remark.detail else "")
            for remark in rows
        )
        more = ", ..." if count > len(rows) else ""
        lines.append(f"  {what}: {count_text(count)} {reason}: row {named}{more}")
    return lines
