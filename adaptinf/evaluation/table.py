"""The accuracy matrix as plain text for a terminal or a log."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np

WIDTH = 100
NAME_WIDTH = 28
CELL_WIDTH = len("100.0*")
GAP = "  "


def matrix_table(
    steps: Sequence[str],
    names: Sequence[str],
    scores: np.ndarray,
    learned: np.ndarray,
    drops: np.ndarray,
    *,
    averaged: np.ndarray | None = None,
    probed: np.ndarray | None = None,
) -> str:
    """Benchmarks down, steps across and the max-drop last, in ASCII of at most 100 columns.

    ``scores`` [rows, N] percent, ``learned`` [N] the step that taught the benchmark (0: none; its
    cell bears an asterisk), ``drops`` [N] points, NaN shown as a dash. ``averaged`` [N] are the
    benchmarks that means are over, all where it is not given; ``probed`` [rows, N] cells are
    estimates and bear a tilde. Long names are cut, and where the steps do not all fit, the base
    model and the latest ones stand.
    """
    name_width = min(NAME_WIDTH, max(len(name) for name in (*names, "benchmark")))
    room = WIDTH - name_width - len(GAP) - CELL_WIDTH
    shown = _shown_rows(len(steps), room // (CELL_WIDTH + len(GAP)))
    widths = _column_widths([steps[row] for row in shown], room)

    def line(name: str, cells: Sequence[str], drop: str) -> str:
        padded = [cell[:width].rjust(width) for cell, width in zip(cells, widths, strict=True)]
        return GAP.join([_cut(name, name_width), *padded, drop.rjust(CELL_WIDTH)])

    counted = np.ones(len(names), dtype=bool) if averaged is None else averaged
    guessed = np.zeros(scores.shape, dtype=bool) if probed is None else probed
    lines = [line("benchmark", [steps[row] for row in shown], "drop")]
    for i, name in enumerate(names):
        cells = [
            _cell(scores[row, i], taught=0 < row == learned[i], probed=bool(guessed[row, i]))
            for row in shown
        ]
        lines.append(line(name, cells, "-" if np.isnan(drops[i]) else f"{drops[i]:.1f}"))
    lost = drops[counted & ~np.isnan(drops)]
    means = [f"{scores[row, counted].mean():.1f} " for row in shown]
    lines.append(line("average", means, f"{lost.mean():.1f}" if lost.size else "-"))
    lines.append("* the step that taught it; drop: best since then, minus the last step")
    if guessed.any():
        lines.append("~ estimated for all questions from a probe of them")
    others = [name for name, one in zip(names, counted.tolist(), strict=True) if not one]
    if others:
        told = f"the average leaves out, being no accuracies: {', '.join(others)}"
        lines += textwrap.wrap(told, WIDTH)
    if len(shown) < len(steps):
        lines.append(f"steps left out for width: {len(steps) - len(shown)}")
    return "\n".join(line.rstrip() for line in lines)


def _cell(score: float, *, taught: bool, probed: bool) -> str:
    """A score with its marks, no wider than ``100.0*``."""
    mark, tilde = "*" if taught else " ", "~" if probed else ""
    exact = f"{tilde}{score:.1f}{mark}"
    return exact if len(exact) <= CELL_WIDTH else f"{tilde}{score:.0f}{mark}"


def _shown_rows(rows: int, fit: int) -> list[int]:
    return list(range(rows)) if rows <= fit else [0, *range(rows - fit + 1, rows)]


def _column_widths(titles: Sequence[str], room: int) -> list[int]:
    """Widths that show the titles whole, the widest narrowed until all fit ``room``."""
    widths = [max(len(title), CELL_WIDTH) for title in titles]
    while sum(widths) + len(GAP) * len(widths) > room and max(widths) > CELL_WIDTH:
        widths[widths.index(max(widths))] -= 1
    return widths


def _cut(name: str, width: int) -> str:
    return name.ljust(width) if len(name) <= width else name[: width - 2] + ".."
