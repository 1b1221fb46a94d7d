"""The drawings of the report. Each also reads without colour: by number, shape and place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from adaptinf.evaluation import AccuracyMatrix, BenchmarkPath
from adaptinf.report import svg
from adaptinf.report.wording import ESTIMATED, percent, shortened, signed, tenths

NAME_LIMIT = 24
ROW = 30.0
TITLES = 36.0
STEP_WIDTH = 66.0
NARROW_BAR = 160.0
WIDE_BAR = 480.0
STRONGEST_HEAT = 0.6
"""Above this the cell's number would fall below a contrast of 4.5."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a stacked bar chart: a part for each of the chart's kinds."""

    label: str
    parts: Sequence[float]
    caption: str


@dataclass(frozen=True, slots=True)
class Scale:
    """Where scores fall on an axis from 0 to 100, or wider where some lie beyond."""

    low: float
    high: float

    @classmethod
    def over(cls, scores: Iterable[float]) -> Scale:
        """The axis that holds all ``scores``."""
        known = tuple(scores)
        return cls(min(0.0, *known), max(100.0, *known))

    def between(self, start: float, end: float, score: float) -> float:
        """Place of ``score`` on the axis drawn from ``start`` to ``end``."""
        return start + (end - start) * (score - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Five marks."""
        return [self.low + (self.high - self.low) * quarter / 4 for quarter in range(5)]


def heat_map(matrix: AccuracyMatrix, order: Sequence[int]) -> Markup:
    """Benchmarks (columns of the matrix, in ``order``) down, steps across, drop at the right."""
    names, rows, paths = [], range(len(matrix.steps)), matrix.per_benchmark()
    cells = [mark for row in rows for mark in _step_title(matrix, row, (row + 0.5) / len(rows), 12)]
    frames, drops = [], [svg.text(1, 26, "drop", "quiet", "end")]
    for place, i in enumerate(order):
        y, benchmark = TITLES + ROW * place, matrix.benchmarks[i]
        names.append(_name(y + 19, benchmark.name))
        cells += [_heat_cell(matrix, row, i, y) for row in rows]
        drops.append(svg.text(1, y + 19, tenths(paths[i].drop) or "-", "number", "end"))
        if benchmark.learned_at is not None and benchmark.learned_at in rows:
            x = benchmark.learned_at / len(rows)
            frames.append(svg.box(x, y + 2, 1 / len(rows), ROW - 4, "taught", 0))
    y = TITLES + ROW * len(order) + 24
    names.append(svg.text(0, y, "average", "strong"))
    for row in rows:
        mean, x = tenths(matrix.average_accuracy(row)), (row + 0.5) / len(rows)
        cells.append(svg.text(x, y, mean, "number strong", "middle"))
    mean_drop = tenths(matrix.forgetting("max-drop")) or "-"
    drops.append(svg.text(1, y, mean_drop, "number strong", "end"))
    width = _name_width([matrix.benchmarks[i].name for i in order])
    plot = svg.panel(
        "Heat map of the accuracy matrix; its numbers are in the table below",
        y + 12,
        STEP_WIDTH * len(rows),
        cells + frames,
    )
    return svg.chart([svg.labels(width, y + 12, names), plot, svg.labels(48, y + 12, drops)])


def _heat_cell(matrix: AccuracyMatrix, row: int, i: int, y: float) -> Markup:
    score, benchmark, width = float(matrix.scores[row, i]), matrix.benchmarks[i], len(matrix.steps)
    title = f"{benchmark.name}, {matrix.steps[row]}: {percent(score)}"
    if matrix.intervals is not None:
        low, high = (tenths(float(end)) for end in matrix.intervals[row, i])
        title += f", 95 % interval {low} to {high}"
    probed = bool(matrix.probed[row, i])
    if matrix.asked is not None and probed:
        title += f", estimated from a probe of {matrix.asked[row, i]:.0f}"
    title += f", {benchmark.n} items"
    if row > 0 and row == benchmark.learned_at:
        title += "; the step that taught it"
    heat = STRONGEST_HEAT * min(max(score, 0.0), 100.0) / 100
    marks = (
        svg.box(row / width, y, 1 / width, ROW, "heat", heat),
        svg.text(
            (row + 0.5) / width, y + 19, ESTIMATED * probed + tenths(score), "number", "middle"
        ),
    )
    return svg.group(title, marks)


def slopes(paths: Sequence[BenchmarkPath]) -> Markup:
    """One line per benchmark from the score when learned (ring) to the last one (disc).

    A benchmark that no step taught starts at the base model.
    """
    starts = [path.first if path.learned is None else path.learned for path in paths]
    axis = Scale.over([*starts, *(path.last for path in paths)])
    top, bottom = 24.0, 24.0 + ROW * len(paths)
    names, plot, changes = [], [], []
    for tick in axis.ticks():
        x = axis.between(0.07, 0.93, tick)
        plot.append(svg.stroke(x, top, x, bottom, "grid"))
        plot.append(svg.text(x, top - 8, f"{tick:.0f}", "quiet", "middle"))
    for place, (path, start) in enumerate(zip(paths, starts, strict=True)):
        y = top + ROW * (place + 0.5)
        names.append(_name(y + 4, path.name))
        plot.append(_slope(path, start, axis, y))
        changes.append(svg.text(1, y + 4, signed(path.last - start), "number", "end"))
    label = "Score of each benchmark when it was learned and after the last step"
    width = _name_width([path.name for path in paths])
    return svg.chart(
        [
            svg.labels(width, bottom + 6, names),
            svg.panel(label, bottom + 6, 120, plot),
            svg.labels(48, bottom + 6, changes),
        ]
    )


def _slope(path: BenchmarkPath, start: float, axis: Scale, y: float) -> Markup:
    then, now = (axis.between(0.07, 0.93, score) for score in (start, path.last))
    css = "same" if path.last == start else "loss" if path.last < start else "gain"
    since = "base model" if path.learned is None else "learned"
    marks = (
        svg.stroke(then, y, now, y, f"slope {css}"),
        svg.dot(now, y, 5, f"disc {css}"),
        svg.dot(then, y, 5, f"ring {css}"),
    )
    return svg.group(f"{path.name}: {since} {percent(start)}, last {percent(path.last)}", marks)


def accuracy_lines(matrix: AccuracyMatrix) -> Markup:
    """Average accuracy after each step, over all benchmarks and over those taught by then."""
    rows = range(len(matrix.steps))
    every = [matrix.average_accuracy(row) for row in rows]
    seen = [matrix.average_seen_accuracy(row) for row in rows]
    axis = Scale.over([*every, *(score for score in seen if score is not None)])
    top, bottom = 22.0, 222.0
    marks, ticks = [], []
    for tick in axis.ticks():
        y = axis.between(bottom, top, tick)
        marks.append(svg.stroke(0, y, 1, y, "grid"))
        ticks.append(svg.text(1, y + 4, f"{tick:.0f}", "quiet", "end"))
    places = [(row + 0.5) / len(rows) for row in rows]
    for row, x in enumerate(places):
        marks += _step_title(matrix, row, x, bottom + 20)
    for scores, css in ((every, "line-all"), (seen, "line-seen")):
        heights = [None if s is None else axis.between(bottom, top, s) for s in scores]
        marks += _line(places, heights, css)
    for x, all_score, seen_score in zip(places, every, seen, strict=True):
        marks += _line_numbers(
            x, axis, bottom, top, {all_score, all_score if seen_score is None else seen_score}
        )
    label = "Average accuracy after each step, over all benchmarks and over those taught by then"
    plot = svg.panel(label, bottom + 44, STEP_WIDTH * len(rows), marks)
    return svg.chart([svg.labels(28, bottom + 44, ticks), plot])


def _line(places: Sequence[float], heights: Sequence[float | None], css: str) -> list[Markup]:
    """Marks at the known heights, joined by straight lines."""
    spots = [(x, y) for x, y in zip(places, heights, strict=True) if y is not None]
    marks = [svg.stroke(*one, *two, f"line {css}") for one, two in pairwise(spots)]
    return marks + [svg.dot(x, y, 5, f"spot {css}") for x, y in spots]


def _line_numbers(
    x: float, axis: Scale, bottom: float, top: float, scores: set[float]
) -> list[Markup]:
    """The higher number above its mark, the lower one below; one where both read the same."""
    ordered = sorted(scores, reverse=True)
    if len({tenths(score) for score in ordered}) == 1:
        ordered = ordered[:1]
    return [
        svg.text(x, axis.between(bottom, top, score) + offset, tenths(score), "number", "middle")
        for score, offset in zip(ordered, (-11.0, 20.0), strict=False)
    ]


def stacked_bars(bars: Sequence[Bar], kinds: Sequence[str], label: str, unit: str) -> Markup:
    """One horizontal bar per row, all on one scale; ``kinds`` name the parts, in legend order."""
    longest = max(sum(bar.parts) for bar in bars) or 1.0
    names, plot, captions = [], [], []
    for place, bar in enumerate(bars):
        y, x = ROW * place, 0.0
        names.append(_name(y + 19, bar.label))
        captions.append(svg.text(0, y + 19, bar.caption, "quiet number", shift=10))
        for slot, (kind, part) in enumerate(zip(kinds, bar.parts, strict=True)):
            width = part / longest
            if part > 0:
                marks = [
                    svg.box(x, y + 3, width, ROW - 6, f"part part-{slot % 8}"),
                    *_part_name(x, y + 19, kind, width),
                ]
                plot.append(svg.group(f"{bar.label}, {kind}: {part:,.4g} {unit}", marks))
            x += width
    height = ROW * len(bars)
    room = max(len(bar.caption) for bar in bars) * svg.CHARACTER + 14
    return svg.chart(
        [
            svg.labels(_name_width([bar.label for bar in bars]), height, names),
            svg.panel(label, height, NARROW_BAR, plot),
            svg.labels(room, height, captions),
        ]
    )


def _part_name(x: float, y: float, kind: str, width: float) -> list[Markup]:
    """The name inside a part where it fits; "roomy" ones the style sheet hides on a phone."""
    needed = len(kind) * svg.CHARACTER + 12
    if needed > width * WIDE_BAR:
        return []
    return [svg.text(x, y, kind, "" if needed <= width * NARROW_BAR else "roomy", shift=7)]


def _name_width(names: Sequence[str]) -> float:
    return min(max(len(name) for name in (*names, "average")), NAME_LIMIT) * svg.CHARACTER + 12


def _name(y: float, name: str) -> Markup:
    return svg.group(name, [svg.text(0, y, shortened(name, NAME_LIMIT))])


def _step_title(matrix: AccuracyMatrix, row: int, x: float, y: float) -> list[Markup]:
    """``2-m3it`` on two lines; a name without a number on the second."""
    number, dash, task = matrix.steps[row].partition("-")
    lines = (number, task) if dash and number.isdigit() else ("", matrix.steps[row])
    return [
        svg.text(x, y + 14 * line, shortened(content, 11), "quiet", "middle")
        for line, content in enumerate(lines)
        if content
    ]
