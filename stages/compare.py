"""Two runs against each other, for people."""

from __future__ import annotations

from pathlib import Path

from adaptinf.console import table
from adaptinf.evaluation.comparison import compare_runs


def compared(first: Path, second: Path) -> str:
    """What the second run does better or worse than the first, after the last step of each.

    Raises:
        UserError: one of the folders holds no run.
    """
    found = compare_runs(first, second)
    lines = []
    if found.differences:
        rows = [
            [
                one.benchmark,
                str(one.items),
                f"{one.first:.1f}",
                f"{one.second:.1f}",
                f"{one.points:+.1f}",
                f"{one.interval.low:+.1f} to {one.interval.high:+.1f}",
                f"{one.chance:.3f}",
            ]
            for one in found.differences
        ]
        header = ["benchmark", "items", "first", "second", "points", "95 % interval", "by chance"]
        lines += [table(rows, header, width=100), ""]
    if found.mean is not None and found.interval is not None:
        ends = f"{found.interval.low:+.1f} to {found.interval.high:+.1f}"
        lines.append(f"mean over benchmarks: {found.mean:+.1f} points, 95 % interval {ends}")
        if found.left_out:
            names = ", ".join(found.left_out)
            lines.append(f"the mean leaves out, being no accuracies: {names}")
        lines.append("intervals are over questions; another seed moves a run as well")
    lines += [f"not compared: {name}: {why}" for name, why in found.refused.items()]
    lines += [
        f"setting {key}: {one!r} in the first, {two!r} in the second"
        for key, (one, two) in found.settings.items()
    ]
    return "\n".join(lines or ["the runs have no benchmark in common"])
