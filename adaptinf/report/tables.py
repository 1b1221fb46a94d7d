"""The matrix and its measures for other programs and pages: Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping

from adaptinf.evaluation import AccuracyMatrix
from adaptinf.report import headlines
from adaptinf.report.wording import ESTIMATED, tenths

_ESCAPED = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_[]<>|#"})


def as_markdown(matrix: AccuracyMatrix) -> str:
    """What the page begins with: sentences, measures, and the matrix with its drops."""
    names = [_plain(step) for step in matrix.steps]
    lines = [headlines.lead(matrix), "", "| measure | value |", "|---|---:|"]
    every = (*headlines.headlines(matrix), *headlines.measures(matrix))
    lines += [f"| {one.title} | {one.value} |" for one in every]
    lines += ["", f"| benchmark | {' | '.join(names)} | drop |"]
    lines.append("|---|" + "---:|" * (len(names) + 1))
    for column, path in enumerate(matrix.per_benchmark()):
        cells = [
            _scored(score, taught=row == path.learned_at, probed=bool(matrix.probed[row, column]))
            for row, score in enumerate(matrix.scores[:, column].tolist())
        ]
        drop = "-" if path.drop is None else tenths(path.drop)
        lines.append(f"| {_plain(path.name)} | {' | '.join(cells)} | {drop} |")
    legend = "Bold: after the step that taught it. Drop: best since then, minus the last step."
    if matrix.probed.any():
        legend += f" {ESTIMATED}: estimated for all questions from a probe of them."
    lines += ["", legend]
    return "\n".join(lines) + "\n"


def _scored(score: float, *, taught: bool, probed: bool) -> str:
    text = ESTIMATED * probed + tenths(score)
    return f"**{text}**" if taught else text


def as_csv(matrix: AccuracyMatrix) -> str:
    """A line for each step and benchmark: score and interval in percent, items, who taught it.

    Items are those that were asked after that step.
    """
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(
        ["step", "benchmark", "skill", "metric", "items", "learned_at", "score", "low", "high"]
    )
    for row, step in enumerate(matrix.steps):
        for column, benchmark in enumerate(matrix.benchmarks):
            ends = ["", ""]
            if matrix.intervals is not None:
                ends = [repr(float(end)) for end in matrix.intervals[row, column]]
            asked = benchmark.n if matrix.asked is None else int(matrix.asked[row, column])
            told = [benchmark.name, benchmark.skill, benchmark.metric, asked]
            at = "" if benchmark.learned_at is None else benchmark.learned_at
            out.writerow([step, *told, at, repr(float(matrix.scores[row, column])), *ends])
    return text.getvalue()


FORMS: Mapping[str, Callable[[AccuracyMatrix], str]] = {
    ".md": as_markdown,
    ".csv": as_csv,
    ".json": AccuracyMatrix.to_json,
}
"""By the suffix of a file."""


def _plain(text: str) -> str:
    """A name as it is read, whatever signs it has."""
    return " ".join(text.split()).translate(_ESCAPED)
