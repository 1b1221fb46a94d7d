"""The whole command, step by step: read, select, explain, write."""

from __future__ import annotations

import time

from adaptinf.console import Console, count_text
from adaptinf.errors import UserError
from selection import Selection, select
from selection.pool import Matrix
from stages.arrays.centroids import read_centroids
from stages.arrays.explanation import explain_rows
from stages.arrays.inputs import Inputs, read_inputs
from stages.arrays.order import Order
from stages.arrays.outcome import Finished, check_outputs, summary_of, write_outputs

_OPTIONS = {
    "Pool.features": "--features",
    "Pool.scores": "--scores",
    "Pool.groups": "--group-column",
    "Pool.arrival": "--arrival-column",
}


def select_arrays(order: Order, console: Console) -> Finished:
    """Choose the rows that are asked for, write them and their summary, and say why.

    Nothing is written before everything is known. The same files, options and seed give the same
    bytes. Raises UserError for whatever the user can mend.
    """
    started = time.monotonic()
    check_outputs(order.files)
    console.line(f"reading {', '.join(order.files.read)}")
    inputs = read_inputs(order)
    positions = _positions(inputs, order.explain)
    earlier = None if order.files.centroids is None else read_centroids(order.files.centroids)
    rows = count_text(len(inputs.pool))
    console.line(f"selecting {count_text(order.budget)} of {rows} rows by {order.rules.method}")
    selection = _selected(inputs, order, earlier)
    if positions:
        console.line(f"explaining {', '.join(order.explain)}")
    explained = explain_rows(inputs.pool, selection, order, positions)
    console.line(f"writing {order.files.out}")
    summary = summary_of(order, inputs, selection)
    write_outputs(order.files, inputs, selection, summary)
    seconds = time.monotonic() - started
    return Finished(order.files.out, inputs.pool.groups or (), summary, explained, seconds)


def _positions(inputs: Inputs, names: tuple[str, ...]) -> list[int]:
    """Pool positions of the ids. Raises UserError for one that no row has."""
    if not names:
        return []
    place = {name: row for row, name in enumerate(inputs.pool.ids)}
    for name in names:
        if name not in place:
            like = f"ids are like {inputs.pool.ids[0]!r}" if len(inputs.pool) else ""
            raise UserError("no row has this id", where="--explain", seen=name, hint=like)
    return [place[name] for name in names]


def _selected(inputs: Inputs, order: Order, centroids: Matrix | None) -> Selection:
    """The selection. Raises UserError for what the library refuses, and for an empty one."""
    pool, rules = inputs.pool, order.rules
    if (rules.floors or rules.ceilings) and pool.groups is None:
        raise UserError(
            "shares by group need a group for every row", where="select", hint="--group-column NAME"
        )
    try:
        chosen = select(
            pool,
            order.budget,
            rules.method,
            rules.seed,
            rules.clusters,
            scorer=rules.scorer,
            budgets=rules.budgets,
            sampling=rules.sampling,
            centroids=centroids,
            floors=rules.floors,
            ceilings=rules.ceilings,
            old=rules.old,
        )
    except ValueError as error:
        raise UserError(_in_options(str(error)), where="select") from error
    if not len(chosen.indices):
        raise UserError("nothing to select", seen={"rows": len(pool), "budget": order.budget})
    if order.files.save_centroids and chosen.centroids is None:
        raise UserError(f"method {rules.method!r} has no centroids", where="--save-centroids")
    return chosen


def _in_options(message: str) -> str:
    """The library's message, with the command's options in place of the names of its arguments."""
    for argument, option in _OPTIONS.items():
        message = message.replace(argument, option)
    return message
