"""What a step is expected to cost, told once its rows are selected and before it trains."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict

from adaptinf.console import Console, count_text, table
from adaptinf.evaluation.drops import LARGE, Expected, expected_drops
from stages.context import Context, Step
from stages.results import build_matrix
from stages.walk import StepWorks
from stages.work import is_done

_LISTED = 6
_WIDTH = 98


def tell_outlook(context: Context, walk: Sequence[StepWorks], console: Console) -> None:
    """Tell the large drops to be expected of the last step of this walk, and record them all.

    The step has selected its rows, and all steps before it are done. Of the first one nothing can
    be said.
    """
    drops = _outlook(context, walk)
    if drops:
        console.event("outlook", step=walk[-1].step.name, drops=[asdict(drop) for drop in drops])
    if text := _told(walk[-1].step, drops):
        console.line(text)


def coming_outlook(context: Context, walk: Sequence[StepWorks]) -> str:
    """The same of a run that stands between selection and training; empty of any other."""
    for number, works in enumerate(walk[1:], 1):
        if works.train is None or not is_done(works.train):
            before = [work for earlier in walk[:number] for work in earlier.ordered]
            ready = all(map(is_done, before)) and works.select and is_done(works.select)
            return _told(works.step, _outlook(context, walk[: number + 1])) if ready else ""
    return ""


def _outlook(context: Context, walk: Sequence[StepWorks]) -> list[Expected]:
    if len(walk) < 3 or walk[-1].rehearse:  # no run that the table is made of has rehearsed
        return []
    folders = [context.run / "steps" / works.step.name for works in walk[1:]]
    return expected_drops(build_matrix(context, walk[:-1]), folders)


def _told(step: Step, drops: Sequence[Expected]) -> str:
    """The large ones as a table, the largest first; empty where there is none."""
    large = sorted((one for one in drops if one.points >= LARGE), key=lambda one: -one.points)
    if not large:
        return ""
    rows = [
        [
            one.standing.benchmark,
            f"{one.standing.level:.0f}",
            f"{count_text(one.standing.rows)} of {count_text(one.standing.selected)}",
            f"{one.points:.0f}",
        ]
        for one in large[:_LISTED]
    ]
    told = table(rows, ["benchmark", "now, %", "its rows", "points"], width=_WIDTH)
    more = f"\nand {len(large) - _LISTED} more" if len(large) > _LISTED else ""
    return (
        f"{step.name} is likely to cost, as such skills lost in the study"
        f" (docs/expected_drops.md):\n{textwrap.indent(told + more, '  ')}\n"
        "select.skill_floor, select.old or select.floors keep rows of old skills;"
        " rehearse.rows needs none"
    )
