"""``adaptinf lmms``: the rows of a run asked tasks of lmms-eval, one task at a time.

lmms-eval writes nothing before the last of its tasks is done, so that each gets a call of its own
here: what is finished stays, and a group's tasks are told from another's.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from adaptinf.errors import UserError
from adaptinf.evaluation.bridged import FOLDER
from adaptinf.evaluation.intervals import bootstrap_interval
from stages.integrity import inspect_stage
from stages.lmms import call
from stages.lmms.call import Call
from stages.lmms.results import NAME, TaskResult, read_results
from stages.lmms.rows import Row, chosen, find_rows, source_of
from stages.lock import locked
from stages.record import DAMAGED, DONE
from stages.work import Counts, Progress, Silent, Work

VERSION = 1


@dataclass(frozen=True, slots=True)
class Order:
    """Which tasks, of which steps of a run (None: all), and how: see the command's options."""

    run: Path
    tasks: Sequence[str]
    steps: Sequence[str] | None
    call: Call
    live: bool = False
    fresh: bool = False


class _Told(Silent):
    """Progress of which only the notes are told."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def note(self, text: str) -> None:
        """A line."""
        self._tell(text)


def bridge(order: Order, tell: Callable[[str], None]) -> None:
    """Have steps of a run asked tasks, from wherever an earlier try ended.

    Raises:
        UserError: an unknown step, no lmms-eval, a call that failed, or a task that was asked in
            another way before and ``fresh`` is not given.
    """
    _check(order)
    rows = find_rows(order.run, live=order.live)
    wanted = chosen(rows, order.steps)
    live = any(row.on_top for row in wanted)
    environment = call.look(order.call.python, live=live)
    version = environment.require()
    for difference in environment.otherwise() if live else ():
        tell(f"adapters may answer otherwise there: {difference}")
    source = source_of(order.run)
    with locked(order.run):
        works = {row.name: _works(order, row, version) for row in rows}
        _refuse_drifted([work for those in works.values() for work in those], order, tell)
        for row in wanted:
            pending = [work for work in works[row.name] if work.done() is None]
            if not pending:
                tell(f"{row.name}: all done before")
                continue
            _require_sound(row)
            tell(f"{row.name}: writing the model ({row.way})")
            with row.handed_over(source):
                for work in pending:
                    tell(f"{row.name}: {work.folder.name} through lmms-eval {version}")
                    work.run(_Told(tell))


def _require_sound(row: Row) -> None:
    """Nobody is asked by means of damaged weights."""
    for folder in row.reads:
        known = any((folder / name).is_file() for name in (DONE, DAMAGED))
        found = inspect_stage(folder)
        if known and not found.is_sound:
            raise UserError(
                "the adapter is not as it was written",
                where=str(folder),
                seen=", ".join([*found.damaged, *found.missing]),
                hint="adaptinf verify marks it, the next run-lifelong makes it anew",
            )


def calls(order: Order) -> list[str]:
    """What would be run, as one would type it; nothing is looked at but the run.

    Raises:
        UserError: no run, or an unknown step.
    """
    _check(order)
    lines: list[str] = []
    for row in chosen(find_rows(order.run, live=order.live), order.steps):
        lines.append(f"# {row.name} ({row.way})")
        for task in order.tasks:
            out = row.bridged / f"{task}.tmp" / "out"
            lines.append(shlex.join(order.call.command(task, row.model, out, row.on_top)))
    return lines


def _check(order: Order) -> None:
    """What would be told late, or not at all, by lmms-eval."""
    if not order.tasks:
        raise UserError("no task given", where="--tasks", hint="as in --tasks pope,mme")
    for task in order.tasks:
        if not NAME.fullmatch(task):
            hint = "names of lmms-eval, divided by commas, without signs for many"
            raise UserError("no name of a task", where="--tasks", seen=task, hint=hint)
    folder = order.call.include_path
    if folder is not None and not folder.is_dir():
        raise UserError("no such folder", where="--include-path", seen=str(folder))
    if "," in str(order.run):
        hint = "lmms-eval takes what is behind a comma for another argument; rename the folder"
        raise UserError("a comma in the run's path", where=str(order.run), hint=hint)


def _works(order: Order, row: Row, version: str) -> list[Work]:
    inputs = dict(row.fingerprints)
    if order.call.include_path is not None:
        inputs["include_path"] = _digest(order.call.include_path)
    kept = ("model", "model_args", "batch_size", "limit")
    settings = {name: value for name, value in asdict(order.call).items() if name in kept}
    return [
        Work(
            step=row.folder.name,
            stage=FOLDER,
            version=VERSION,
            settings={"task": task, "lmms_eval": version, "way": row.way, **settings},
            inputs=inputs,
            folder=row.bridged / task,
            perform=partial(_perform, order.call, row, task),
            reads=row.reads,
        )
        for task in order.tasks
    ]


def _digest(folder: Path) -> str:
    """SHA-256 over the tasks and the code of a folder of one's own."""
    state = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix in (".yaml", ".yml", ".py") and file.is_file():
            state.update(f"{file.relative_to(folder)}\n".encode() + file.read_bytes())
    return state.hexdigest()


def _refuse_drifted(works: Sequence[Work], order: Order, tell: Callable[[str], None]) -> None:
    """No column is of two kinds: what was asked otherwise goes, at whatever step, or all stays."""
    for work in works:
        if work.is_drifted():
            if not order.fresh:
                raise UserError(
                    f"{work.name} was asked in another way: {work.difference()}",
                    where=str(work.folder),
                    hint="ask in the same way, or add --fresh, which removes what was not",
                )
            shutil.rmtree(work.folder)
            tell(f"{work.name}: removed, it was asked in another way")


def _perform(order: Call, row: Row, task: str, folder: Path, progress: Progress) -> Counts:
    out, log = folder / "out", folder / "log.txt"
    shutil.rmtree(out, ignore_errors=True)
    call.run(order.command(task, row.model, out, row.on_top), log)
    # lmms-eval ends well even where it failed.
    if not any(out.rglob("*_results.json")):
        raise call.failure(log, f"lmms-eval gave no results for {task} after {row.name}")
    results = read_results(out, task)
    for result in results:
        # A group without a number holds its tasks.
        place = folder if result.name == task else folder / result.name
        place.mkdir(exist_ok=True)
        _write(result, row, place)
        # Some models of lmms-eval answer nothing where generation fails, and go on.
        if empty := _empty(result):
            progress.note(f"{empty} of {result.n} answers to {result.name} are empty: see log.txt")
    shutil.rmtree(out)
    rows = sum(result.n for result in results)
    return Counts(rows, rows)


def _empty(result: TaskResult) -> int:
    return sum(not item.text.strip() for item in result.items)


def _write(result: TaskResult, row: Row, place: Path) -> None:
    told = json.dumps(_cell(result), indent=1, ensure_ascii=False, allow_nan=False)
    (place / "scores.json").write_text(told + "\n", encoding="utf-8", errors="replace")
    lines: list[dict[str, Any]] = [
        {
            "question_id": item.question_id,
            "prompt": item.prompt,
            "text": item.text,
            "answer": item.answer,
            "images": [],
            "score": item.score,
            "model_id": row.name,
        }
        for item in result.items
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (place / "predictions.jsonl").write_text(text, encoding="utf-8", errors="replace")


def _cell(result: TaskResult) -> dict[str, Any]:
    """What is kept of a task: its headline, the same in percent if it is a mean, all metrics."""
    shares = result.shares
    ends = bootstrap_interval(shares, seed=0) if shares else None
    return {
        "task": result.name,
        "metric": result.metric,
        "n": result.n,
        "score": result.score,
        "stderr": result.stderr,
        "higher_is_better": result.higher_is_better,
        "mean": sum(shares) / len(shares) if shares else None,
        "interval": [ends.low, ends.high] if ends else None,
        "empty": _empty(result),
        "metrics": {
            name: {"score": score, "stderr": stderr}
            for name, (score, stderr) in result.metrics.items()
        },
    }
