"""The results of the study as a page: a pure function of ``docs/results.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pages import markdown

FIGURES = {
    "average_accuracy": "final average accuracy",
    "forgetting_end_drop": "forgetting (end-drop)",
    "rare_skill_accuracy": "rare skills",
    "learning_accuracy": "accuracy when learned",
    "selection_cost_share": "choosing / training",
    "choosing_and_training_seconds": "choosing and training, CPU s",
}

BRIEF = (
    *("sequential", "random", "random-replay", "adapt-inf", "multitask"),
    *("random-floors", "adapt-inf-floors"),
)
"""Ways of the front page."""

_HEAD = """\
# Results of the study

Does selection limit forgetting, and what does it cost? [The plan](study_plan.md) was written before
the runs; `scripts/study.py tables` writes this page out of their folders, with
[results.json](results.json) beside it. Nothing here is written by hand.

Means over seeds; in brackets and behind ± the 95 % interval by Student's t. Differences are paired:
the same seed means the same world, model and order. Accuracies in percent, forgetting and
differences in points; less forgetting is better, and a negative end-drop is a gain since the skill
was taught. With so many comparisons some intervals miss 0 by chance.
"""


def page_of(results: Mapping[str, Any]) -> str:
    """The whole page."""
    parts = [_HEAD, _told(results), _summary(results), _answers(results), _cost(results)]
    parts += [_side(table) for table in results["tables"]]
    parts += [_losses(results), _skills(results)]
    return "\n".join(part for part in parts if part)


def brief_of(results: Mapping[str, Any]) -> str:
    """A table of few ways and figures, for the front page."""
    figures = ("average_accuracy", "forgetting_end_drop", "rare_skill_accuracy")
    heads = {"method": "selection", **{figure: FIGURES[figure] for figure in figures}}
    heads["selection_cost_share"] = FIGURES["selection_cost_share"]
    summary = {"rows": results["summary"], "seeds": results["seeds"]}
    found = {
        row["method"]: (row, table["seeds"])
        for table in (*reversed(results["tables"]), summary)
        for row in table["rows"]
        if row["method"] in BRIEF
    }
    rows = [
        {
            **{figure: _ranged(row[figure], 1) for figure in figures},
            "method": _named(row, seeds),
        }
        | {"selection_cost_share": _ranged(row["selection_cost_share"], 2).split(" (")[0]}
        for row, seeds in (found[method] for method in BRIEF if method in found)
    ]
    return markdown(heads, rows)


def _told(results: Mapping[str, Any]) -> str:
    """How much of the study is there."""
    total = results["runs"] + len(results["missing"])
    lines = [f"{results['runs']} of {total} runs are finished."]
    if results["missing"]:
        lines.append("**Not complete**: what is missing is named in results.json.")
    if pool := results["pool"]:
        lines.append(
            f"The last pool has {pool['rows']:,} rows, {pool['times']} times the budget of"
            f" {pool['budget']}."
        )
    rare = ", ".join(results["rare_skills"])
    lines.append(f"Rare skills, of fewer than half the average number of training rows: {rare}.")
    return "\n".join(lines) + "\n"


def _summary(results: Mapping[str, Any]) -> str:
    return _side({**results, "rows": results["summary"]})


def _side(table: Mapping[str, Any]) -> str:
    """A table of figures, nothing where no run of it is finished."""
    seeds = f"{table['seeds']} seed{'s' * (table['seeds'] > 1)}."
    return f"## {table['title']}\n\n{seeds}\n\n{_figures(table)}" if table["rows"] else ""


def _figures(table: Mapping[str, Any]) -> str:
    """Figures of each way, and for the first two their paired differences."""
    against = table["against"]
    heads = {"method": "method"}
    for figure, head in FIGURES.items():
        heads[figure] = head
        if figure in ("average_accuracy", "forgetting_end_drop"):
            heads |= {f"{figure} {way}": f"difference to {way}" for way in against}
    return markdown(heads, [_worded(row, table["seeds"], against) for row in table["rows"]])


def _worded(row: Mapping[str, Any], seeds: int, against: Sequence[str]) -> dict[str, str]:
    cells = {"method": _named(row, seeds)}
    for figure in FIGURES:
        found = row[figure]
        digits = {"selection_cost_share": 2, "choosing_and_training_seconds": 0}.get(figure, 1)
        cells[figure] = _ranged(found, digits)
        for way in against:
            cells[f"{figure} {way}"] = _margin(found[f"vs_{way}"]) if found else ""
    return cells


def _named(row: Mapping[str, Any], seeds: int) -> str:
    """A way, and of how many seeds its figures are where that is not all."""
    partly = f" ({row['seeds']} of {seeds} seeds)" if row["seeds"] < seeds else ""
    return str(row["method"]) + partly


def _ranged(found: Mapping[str, Any] | None, digits: int) -> str:
    if found is None:
        return "-"
    # Without the sign of a negative nought.
    mean, low, high = (
        None if found[key] is None else f"{found[key]:z.{digits}f}"
        for key in ("mean", "low", "high")
    )
    return str(mean) if low is None else f"{mean} ({low} to {high})"


def _margin(found: Mapping[str, Any] | None) -> str:
    """A difference with half the width of its interval."""
    if found is None:
        return ""
    mean = f"{found['mean']:+.1f}"
    return mean if found["low"] is None else f"{mean} ± {(found['high'] - found['low']) / 2:.1f}"


def _answers(results: Mapping[str, Any]) -> str:
    heads = {
        **{"table": "setting", "at": "held equal", "method": "is", "against": "better than"},
        **{"figure": "in", "difference": "difference", "answer": "answer", "why": "because"},
    }
    rows = [
        {**answer, "figure": FIGURES[answer["figure"]], "difference": _margin(answer)}
        for answer in results["answers"]
    ]
    told = "Yes where the whole interval lies on the better side of 0, no everywhere else.\n\n"
    return f"## The answers\n\n{told}{markdown(heads, rows)}" if rows else ""


def _cost(results: Mapping[str, Any]) -> str:
    """Whether the bill is kept."""
    heads = {"method": "method", "seeds": "seeds", "share": "choosing / training"}
    heads["kept"] = "at or under the cost of training"
    rows = [
        {**line, "share": _ranged(line, 2), "kept": "yes" if line["kept"] else "no"}
        for line in results["bill"]
    ]
    told = (
        "## The bill\n\nChoosing is the feature pass, first looks, selection and pruning. CPU"
        " seconds of each run; a stage that runs share is counted in each of them as if it had been"
        f" made there. As published, with features of every row ({results['primary']}), and by"
        f" default, where a first look chooses the rows that get features ({results['default']}).\n"
    )
    return f"{told}\n{markdown(heads, rows)}" if rows else ""


def _losses(results: Mapping[str, Any]) -> str:
    """Every cell in which looking at the rows was worse than drawing them at random."""
    heads = {
        **{"table": "setting", "method": "method", "figure": "figure"},
        **{"against": "against", "difference": "difference", "sure": "beyond chance"},
    }
    rows = [
        {
            **loss,
            "figure": FIGURES[loss["figure"]],
            "difference": _margin(loss),
            "sure": "yes" if loss["beyond_chance"] else "no",
        }
        for loss in results["losses"]
    ]
    told = "Methods that look at the rows, where they did worse than drawing at random.\n\n"
    body = told + markdown(heads, rows) if rows else "In no cell.\n"
    return f"## Where selection loses\n\n{body}"


def _skills(results: Mapping[str, Any]) -> str:
    """The last score of each skill."""
    ways = [*results["against"], results["primary"]]
    heads = {"skill": "skill", **{way: way for way in ways}, "apart": "difference to random"}
    rows = [
        {
            "skill": f"{row['skill']} (rare)"
            if row["skill"] in results["rare_skills"]
            else row["skill"],
            **{way: "-" if row[way] is None else f"{row[way]:.1f}" for way in ways},
            "apart": _margin(row["difference"]),
        }
        for row in results["skills"]
    ]
    return f"## Skill by skill, after the last step\n\n{markdown(heads, rows)}" if rows else ""
