"""The page of what a step is expected to cost: a pure function of docs/expected_drops.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from adaptinf.evaluation.drops import LARGE, LEVELS, SHARES
from pages import markdown

_HEAD = """\
# What a step is expected to cost

Before a step trains, `run-lifelong` looks up how far each skill taught before is likely to fall:
how far such skills fell in [the study](results.md). Two things decide: the score after the step
before, and the share that the skill's rows have of those selected. `scripts/study_drops.py` writes
this page, [its numbers](expected_drops.json) and the table that is shipped out of the study's run
folders.

A benchmark's rows are those that name its skill; where no row of the dataset that first taught it
does, all of that dataset's. A case is a run, a step from the second on, and a benchmark taught
before it. The table tells the mean drop in points, below 0 a gain, and in brackets the cases.
"""

_USE = f"""\
A drop of {LARGE:.0f} points or more is told on the console before the step trains, and in the
report beside what came of it. It changes nothing. What helps is to select rows of the skill, with
`select.skill_floor`, `select.old` or `select.floors`, or [rehearsal](rehearsal.md), which needs
none; of a step that rehearses nothing is told, as no run behind the table does.
"""

_LIMITS = """\
With whole runs left out; cheap recipes are told by the whole table, which has none of them. R2 is
over all cases: 1 is perfect, 0 what their mean would reach.

**What it cannot do.** The study has a tiny model and made-up pictures. A model of billions of
weights, of which an adapter moves a small part, may keep much where the table says that all is
lost. The share counts, not the number of rows: one in a hundred is three rows here and hundreds in
a large step. Methods that choose by features leave few skills without rows, and there the table
tells little; [the forecast from features](forecast.md) tells more of those.
"""

_KINDS = {
    "all": "all",
    "featureless": "methods that look at no features",
    "featured": "methods that choose by features",
    "others": "cheap recipes",
}


_FIGURES = {
    "average_accuracy": "final average accuracy",
    "forgetting_end_drop": "forgetting (end-drop)",
    "rare_skill_accuracy": "rare skills",
    "learning_accuracy": "accuracy when learned",
}
_REPLAY = """\
## Replay by what is expected

Sequential training with a tenth of old rows, {seeds} seeds: at random, or first those of the skills
that would fall furthest without, by the table (`scripts/study_replay.py`,
[replay.json](replay.json)). Means with 95 % intervals by Student's t over seeds; differences are
paired.
"""


def page_of(found: Mapping[str, Any], replay: Mapping[str, Any]) -> str:
    """The whole page; ``replay`` is docs/replay.json."""
    parts = [_HEAD]
    if found["missing"]:
        parts.append("**Not complete**: what is missing is named in expected_drops.json.\n")
    parts += [_table(found["cells"]), _USE, "## How far it holds\n", _sentence(found["held"])]
    parts += [_kinds(found["held"]), _LIMITS, _REPLAY.format(**replay), _arms(replay)]
    return "\n".join(parts)


def _arms(replay: Mapping[str, Any]) -> str:
    named = {"fixed": "at random", "expected": "by expected drops"}
    rows = [
        {"arm": named[arm]}
        | {
            name: f"{one['mean']:.1f} ({one['low']:.1f} to {one['high']:.1f})"
            for name, one in figures.items()
        }
        for arm, figures in replay["arms"].items()
    ]
    told = {
        name: f"{one['mean']:+.1f} ± {one['high'] - one['mean']:.1f}"
        for name, one in replay["difference"].items()
    }
    return markdown({"arm": "old rows", **_FIGURES}, [*rows, {"arm": "difference", **told}])


def _table(cells: Sequence[Mapping[str, Any]]) -> str:
    edges = [f"{100 * edge:g}" for edge in SHARES[1:]]
    between = [f"{low} to {high} %" for low, high in pairwise(edges)]
    shares = ["no row", f"under {edges[0]} %", *between, f"{edges[-1]} % and more"]
    told = {(c["level"], c["share"]): f"{c['drop']:.1f} ({c['cases']})" for c in cells}
    rows = [
        {"level": f"{low:.0f} to {high:.0f} %"}
        | {share: told[band, at] for at, share in enumerate(shares)}
        for band, (low, high) in enumerate(pairwise([0.0, *LEVELS, 100.0]))
    ]
    return markdown({"level": "score before"} | {share: share for share in shares}, rows)


def _sentence(held: Mapping[str, Any]) -> str:
    r2 = held["r2"]
    return (
        f"R2 over {held['cases']:,} cases of {held['runs']} runs is **{r2['run']:.2f}** with whole"
        f" runs left out, {r2['seed']:.2f} with\nwhole seeds, {r2['way']:.2f} with whole methods"
        f" and {r2['setting']:.2f} with whole settings left out.\n"
        "[The plan](study_plan.md#forecast) asked for 0.5 and aimed at 0.7.\n"
    )


def _kinds(held: Mapping[str, Any]) -> str:
    heads = {"of": "cases of", "cases": "cases", "r2": "R2"}
    heads |= {"drops": f"drops of {LARGE:.0f} points and more", "right": "of these told"}
    heads["warnings"] = "warnings"
    rows = [
        {**one, "of": text, "cases": f"{one['cases']:,}", "r2": f"{one['r2']:.2f}"}
        for name, text in _KINDS.items()
        if (one := held[name])
    ]
    return markdown(heads, rows)
