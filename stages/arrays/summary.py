"""A selection on one's own arrays as text for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from adaptinf.console import count_text, duration_text, table
from stages.arrays.explanation import Explanation


def summary_text(summary: Mapping[str, Any], groups: Sequence[str], seconds: float) -> str:
    """The table of the summary, one of the shares if rows have groups, and the notes."""
    rows = [
        ["method", summary["method"]],
        ["rows", count_text(summary["n"])],
        ["selected", count_text(summary["selected"])],
    ]
    if clusters := summary["clusters"]:
        rows.append(["clusters", count_text(len(clusters))])
    wins = Counter(cluster["scorer"] for cluster in clusters if cluster["scorer"])
    for scorer, number in sorted(wins.items(), key=lambda win: (-win[1], win[0])):
        rows.append([f"scorer {scorer}", f"of {_plural(number, 'cluster')}"])
    for reason, number in sorted(summary["excluded"].items()):
        rows.append([f"set aside: {reason}", _plural(number, "row")])
    if unused := summary["unused_columns"]:
        rows.append(["columns not used", ", ".join(unused)])
    rows.append(["time", duration_text(seconds)])
    parts = [table(rows, ["selection", "value"])]
    if "share" in summary:
        parts.append(_shares(summary, groups))
    return "\n\n".join([*parts, *summary["notes"]])


def explanation_text(row: Explanation) -> str:
    """The row and its fate, a line for each thing that is known."""
    fate = "chosen" if row.chosen else "not chosen"
    of_group = "" if row.group is None else f" of {row.group}"
    lines = [f"{row.id} (row {row.position}{of_group}): {fate}", f"why: {row.reason}"]
    if row.cluster is not None:
        size, budget = count_text(row.cluster_size or 0), count_text(row.cluster_budget or 0)
        lines.append(f"cluster: {row.cluster}, which gives {budget} of {size} rows")
    if row.scorer is not None:
        score = "not measured" if row.score is None else f"{row.score:.6g}"
        stratum = "" if row.stratum is None else f", stratum {row.stratum}"
        lines.append(f"score: {row.scorer} {score}{stratum}")
    if near := row.neighbour:
        lines.append(f"nearest other chosen row: {near.id}, cosine {near.cosine:.6f}")
    return "\n  ".join(lines)


def _shares(summary: Mapping[str, Any], groups: Sequence[str]) -> str:
    sizes = Counter(groups)
    rows = []
    for name in sorted(sizes):
        chosen = summary["share"].get(name, 0)
        percent = f"{100 * chosen / summary['selected']:.1f}%"
        rows.append([name, count_text(sizes[name]), count_text(chosen), percent])
    return table(rows, ["group", "rows", "selected", "share"])


def _plural(number: int, word: str) -> str:
    return f"{count_text(number)} {word}{'' if number == 1 else 's'}"
