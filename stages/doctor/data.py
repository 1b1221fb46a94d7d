"""Datasets and benchmarks: there, readable, and fit for the model. Reads as the dry run does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from adaptinf.console import count_text
from adaptinf.data import reasons
from adaptinf.data.source import Source
from adaptinf.errors import UserError
from stages.doctor.case import Case
from stages.doctor.finding import Finding
from stages.doctor.hub import offline
from stages.look import TaskLook, look_at

ASKED = ("overlap", "evaluate", "report")


def data_root(case: Case) -> Iterator[Finding]:
    """Whether the folder of the datasets is there, and can be read."""
    root = case.context.data_root
    yield _unreadable("data root", root) or Finding("data root", "ok", str(root))


def datasets(case: Case) -> Iterator[Finding]:
    """Whether each task has rows that can be used; keeps what was seen in ``case.looks``."""
    context = case.context
    for label, source in context.sources.items():
        name = f"task {label}"
        if closed := [f for path in _folders(source) if (f := _unreadable(name, path))]:
            yield from closed
            continue
        try:
            with offline():
                look = look_at(context, label, measured=case.has_model)
        except UserError as error:
            for line in error.lines:
                yield Finding(name, "fail", line, _advice(line, source))
            continue
        case.looks[label] = look
        yield _told(name, look, source, measured=case.has_model)


def _told(name: str, look: TaskLook, source: Source, *, measured: bool) -> Finding:
    """What the first rows are like."""
    seen = f"{count_text(look.rows)} rows; {count_text(len(look.pool))} of the first"
    seen += f" {count_text(look.seen)} can be used"
    if not measured:
        seen += " (their lengths were not measured: that takes the model's processor)"
    bad = {why: number for why, number in look.problems.items() if why not in reasons.NO_FAULT}
    if not bad:
        return Finding(name, "ok", seen)
    told = ", ".join(f"{count_text(number)} {why}" for why, number in sorted(bad.items()))
    seen = f"{count_text(look.rows)} rows; of the first {count_text(look.seen)}: {told}"
    return Finding(name, "warn", seen, _advice(told, source), ("ingest",))


def _advice(told: str, source: Source) -> str:
    longer = "raise data.max_length; " if reasons.TOO_LONG in told else ""
    return f"{longer}adaptinf check {source.annotations} tells of each row"


def benchmarks(case: Case) -> Iterator[Finding]:
    """Whether each benchmark can be asked, with all its images."""
    context, well = case.context, True
    for benchmark in context.benchmarks:
        name = f"benchmark {benchmark.name}"
        try:
            number = len(context.questions(benchmark))
            context.ready_benchmarks({benchmark.name})
        except UserError as error:
            well = False
            yield from (Finding(name, "fail", line, stages=ASKED) for line in error.lines)
        else:
            yield Finding(name, "ok", f"{count_text(number)} questions", stages=ASKED)
    case.asks = well


def _folders(source: Source) -> list[Path]:
    """Where a task's rows and its images are."""
    rows = source.annotations
    return sorted({rows if rows.is_dir() else rows.parent, source.images})


def _unreadable(name: str, folder: Path) -> Finding | None:
    """A finding where a folder that is there cannot be read."""
    if not folder.is_dir() or os.access(folder, os.R_OK | os.X_OK):
        return None
    return Finding(name, "fail", f"{folder} cannot be read", f"chmod -R u+rX {folder}")
