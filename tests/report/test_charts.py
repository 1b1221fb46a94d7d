"""The drawings, by the numbers and places in them."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from adaptinf.evaluation import AccuracyMatrix, BenchmarkColumn, BenchmarkPath
from adaptinf.report import charts
from adaptinf.report.charts import Bar

COLUMNS = (BenchmarkColumn("a", "a", "exact", 200, 2), BenchmarkColumn("<b>", "b", "exact", 9, 1))
MATRIX = AccuracyMatrix(("base", "1-x", "2-y"), COLUMNS, [[0, 20], [10, 100], [80, 50]])


def parsed(chart) -> ElementTree.Element:
    """The chart as XML; every drawing is well formed."""
    return ElementTree.fromstring(str(chart))


def texts(root: ElementTree.Element) -> list[str]:
    return [mark.text for mark in root.iter("text")]


def marks(root: ElementTree.Element, tag: str, css: str) -> list[dict[str, str]]:
    return [m.attrib for m in root.iter(tag) if css in m.attrib.get("class", "").split()]


def test_heat_map() -> None:
    root = parsed(charts.heat_map(MATRIX, order=[1, 0]))
    shown = texts(root)
    assert shown[:3] == ["<b>", "a", "average"]
    assert [t for t in shown if re.fullmatch(r"[\d.]+", t) and "." in t] == [
        *["20.0", "100.0", "50.0", "0.0", "10.0", "80.0"],
        *["10.0", "55.0", "65.0"],
        *["50.0", "50.0"],
    ]
    heat = marks(root, "rect", "heat")
    assert [cell["fill-opacity"] for cell in heat] == ["0.12", "0.6", "0.3", "0", "0.06", "0.48"]
    # The frames stand at the step that taught each: <b> at 1 of 3 rows, a at 2.
    assert [(f["x"], f["width"]) for f in marks(root, "rect", "taught")] == [
        ("33.333%", "33.333%"),
        ("66.667%", "33.333%"),
    ]
    titles = [title.text for title in root.iter("title")]
    assert "a, 2-y: 80.0 %, 200 items; the step that taught it" in titles
    assert {"1", "x", "2", "y", "base", "drop"} <= set(shown)


def test_slopes() -> None:
    paths = [
        BenchmarkPath("lost", "s", 1, 0.0, 80.0, 80.0, 30.0, 50.0),
        BenchmarkPath("won", "s", 1, 0.0, 20.0, 40.0, 40.0, -20.0),
        BenchmarkPath("watched", "s", None, 60.0, None, None, 60.0, None),
    ]
    root = parsed(charts.slopes(paths))
    assert texts(root)[:3] == ["lost", "won", "watched"]
    assert texts(root)[-3:] == ["\u221250.0", "+20.0", "0.0"]
    lost, won, watched = marks(root, "line", "slope")
    # The axis runs from 7 % to 93 % of the panel.
    assert (lost["x1"], lost["x2"]) == ("75.8%", "32.8%")
    assert lost["class"].endswith("loss") and won["class"].endswith("gain")
    assert watched["x1"] == watched["x2"] and watched["class"].endswith("same")
    assert "watched: base model 60.0 %, last 60.0 %" in [t.text for t in root.iter("title")]


def test_accuracy_lines() -> None:
    root = parsed(charts.accuracy_lines(MATRIX))
    assert len(marks(root, "line", "line-all")) == 2
    assert len(marks(root, "line", "line-seen")) == 1
    # All: 10, 55, 65; seen: none, 100, 65. The last two read the same and are written once.
    numbers = [mark.text for mark in root.iter("text") if mark.attrib["class"] == "number"]
    assert numbers == ["10.0", "100.0", "55.0", "65.0"]


def test_scores_beyond_the_percent_range_widen_the_axis() -> None:
    matrix = AccuracyMatrix(("base", "1-x"), COLUMNS[:1], [[-10], [150]])
    ticks = [t for t in texts(parsed(charts.accuracy_lines(matrix))) if t.lstrip("-").isdigit()]
    assert ticks[:5] == ["-10", "30", "70", "110", "150"]
    heat = marks(parsed(charts.heat_map(matrix, [0])), "rect", "heat")
    assert [cell["fill-opacity"] for cell in heat] == ["0", "0.6"]


def test_stacked_bars() -> None:
    bars = [Bar("one", [30, 10], "40 rows"), Bar("two", [0, 80], "80 rows")]
    root = parsed(charts.stacked_bars(bars, ["kind", "other"], "Rows", "rows"))
    parts = [(m["x"], m["width"], m["class"]) for m in marks(root, "rect", "part")]
    assert parts == [
        ("0%", "37.5%", "part part-0"),
        ("37.5%", "12.5%", "part part-1"),
        ("0%", "100%", "part part-1"),
    ]
    assert "one, kind: 30 rows" in [title.text for title in root.iter("title")]
    # "kind" needs 39 pixels: 37.5 % of 160 hold them. "other" needs 46: 12.5 % of 480 do.
    names = [(m.text, m.attrib["class"]) for m in root.iter("text") if m.text in ("kind", "other")]
    assert names == [("kind", ""), ("other", "roomy"), ("other", "")]
    assert texts(root)[-2:] == ["40 rows", "80 rows"]


def test_bars_without_anything_in_them() -> None:
    root = parsed(charts.stacked_bars([Bar("one", [0, 0], "0 s")], ["a", "b"], "Time", "seconds"))
    assert not marks(root, "rect", "part")


@pytest.mark.parametrize("steps", [1, 30])
def test_any_number_of_steps(steps: int) -> None:
    names = tuple(f"{row}-with_a_rather_long_name" for row in range(steps))
    matrix = AccuracyMatrix(names, COLUMNS, [[50, 60]] * steps)
    for chart in (charts.heat_map(matrix, [0, 1]), charts.accuracy_lines(matrix)):
        panels = [svg for svg in parsed(chart).iter("svg") if "style" in svg.attrib]
        assert [svg.attrib["style"] for svg in panels] == [f"min-width:{66 * steps}px"]
