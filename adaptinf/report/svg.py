"""Marks of an inline SVG. Colours and fonts come from the page's style sheet, by class.

Across, marks stand at a share of the panel's width (0 to 1), so that a panel grows with the page
while its text keeps its size; a chart is a row of panels of equal height. Down, they are in pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup

CHARACTER = 6.8
"""Width of an average character of 12-pixel text, a little generous for wide system fonts."""


def panel(label: str, height: float, least: float, marks: Iterable[Markup]) -> Markup:
    """The part of a chart that grows: at least ``least`` pixels wide, read out as ``label``."""
    return Markup(
        '<div class="scroll grow" tabindex="0" role="region" aria-label="{}">'
        '<svg class="chart" role="img" aria-label="{}" height="{}" style="min-width:{}px">{}</svg>'
        "</div>"
    ).format(label, label, _number(height), _number(least), Markup("\n").join(marks))


def labels(width: float, height: float, marks: Iterable[Markup]) -> Markup:
    """A part of a chart with a fixed ``width`` beside the panel, for names or numbers."""
    return Markup(
        '<svg class="chart fixed" aria-hidden="true" width="{}" height="{}">{}</svg>'
    ).format(_number(width), _number(height), Markup("\n").join(marks))


def chart(parts: Sequence[Markup]) -> Markup:
    """Panel and labels side by side."""
    return Markup('<div class="chart-row">{}</div>').format(Markup("").join(parts))


def group(title: str, marks: Iterable[Markup]) -> Markup:
    """Marks that show ``title`` when the pointer rests on them."""
    return Markup("<g><title>{}</title>{}</g>").format(title, Markup("").join(marks))


def text(
    x: float, y: float, content: str, css: str = "", anchor: str = "start", shift: float = 0
) -> Markup:
    """One line of text with its baseline at ``y``, moved right by ``shift`` pixels."""
    return Markup('<text x="{}" y="{}" dx="{}" class="{}" text-anchor="{}">{}</text>').format(
        _share(x), _number(y), _number(shift), css, anchor, content
    )


def box(x: float, y: float, width: float, height: float, css: str, opacity: float = 1) -> Markup:
    """A rectangle; ``opacity`` is that of its filling."""
    return Markup(
        '<rect x="{}" y="{}" width="{}" height="{}" class="{}" fill-opacity="{}"/>'
    ).format(_share(x), _number(y), _share(width), _number(height), css, f"{opacity:.3g}")


def stroke(x1: float, y1: float, x2: float, y2: float, css: str) -> Markup:
    """A straight line."""
    return Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>').format(
        _share(x1), _number(y1), _share(x2), _number(y2), css
    )


def dot(x: float, y: float, radius: float, css: str) -> Markup:
    """A circle."""
    return Markup('<circle cx="{}" cy="{}" r="{}" class="{}"/>').format(
        _share(x), _number(y), _number(radius), css
    )


def _share(value: float) -> str:
    return f"{round(100 * value, 3):g}%"


def _number(value: float) -> str:
    return f"{round(value, 1):g}"
