"""The forecast of the study as a page: a pure function of ``docs/forecast.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pages import markdown
from study_predictors import GROUPS

_HEAD = """\
# Forecast of forgetting

Can each skill's drop in the coming step be told from what is stored before it trains?
[The plan](study_plan.md#forecast) was written before the runs; `scripts/study_forecast.py` writes
this page out of their folders, with [forecast.json](forecast.json) beside it. Nothing here is
written by hand.

A pair is a run, a step from the second on, and a benchmark taught before it; its drop is the score
after the step before minus that after the step, in points. R2 is over all pairs: 1 is a perfect
forecast, 0 what the mean of the pairs would reach. It is given with whole runs left out, by which
the plan decides; with whole seeds left out, since runs of a seed share a world; and, which the plan
does not ask for, with whole ways left out: methods that the forecast has never seen.
"""

_LEFT_OUT = ("runs", "seeds", "ways")


def page_of(results: Mapping[str, Any]) -> str:
    """The whole page."""
    parts = (_HEAD, _told(results), _verdict(results), _sets(results), _ways(results))
    return "\n".join((*parts, _coefficients(results)))


def _told(results: Mapping[str, Any]) -> str:
    """How much there is to learn from."""
    total = results["runs"] + len(results["missing"])
    drop = results["drop"]
    lines = [
        f"{results['runs']} of {total} runs with features are finished, of {results['seeds']}"
        f" seeds: {results['pairs']:,} pairs. Their drops have a mean of {drop['mean']:.1f} points"
        f" (below 0: a gain) and a standard deviation of {drop['sd']:.1f}."
    ]
    if results["missing"]:
        lines.append("**Not complete**: what is missing is named in forecast.json.")
    if results["constant"]:
        names = ", ".join(f"`{name}`" for name in results["constant"])
        lines.append(f"The same in all pairs, and so of no use here: {names}.")
    if results["unknown"]:
        lines.append(
            f"In {results['unknown']} pairs pruning had left no row of the skill; what is unknown"
            " there is filled with its mean (ridge) or left open (trees)."
        )
    return "\n".join(lines) + "\n"


def _verdict(results: Mapping[str, Any]) -> str:
    model, bar = results["models"][-1], results["bar"]
    reached = results["r2"]["all"][model]
    low, high = results["interval"]
    lines = [
        "## Does it hold?\n",
        f"**{'Yes' if results['holds'] else 'No'}**, by the plan's bar of {bar}: R2 of the {model}"
        f" with all predictors is {reached['runs']:.2f} with whole runs left out.",
    ]
    if low < bar < high:
        lines.append(
            f"But the bar lies inside the 95 % interval, {low:.2f} to {high:.2f} by drawing runs"
            " anew: other runs might decide otherwise."
        )
    else:
        lines.append(f"The 95 % interval, by drawing runs anew, is {low:.2f} to {high:.2f}.")
    if reached["seeds"] is not None:
        side = "at or over" if reached["seeds"] >= bar else "under"
        lines.append(f"With whole seeds left out it is {reached['seeds']:.2f}: {side} the bar.")
    if without := results["without"]:
        lines.append(
            f"Without the runs of {without['way']}, whose drops spread most, it is"
            f" {without['r2']['runs']:.2f} with whole runs left out."
        )
    if len(results["models"]) == 1:
        lines.append("The ridge does not reach 0.3, so trees were not tried.")
    large = results["large"]
    lines.append(
        f"As a warning of {large['points']:.0f} points or more: of {large['drops']} such drops"
        f" {large['right']} were told, by {large['warnings']} warnings."
    )
    return "\n".join(lines) + "\n"


def _sets(results: Mapping[str, Any]) -> str:
    """R2 of each set of predictors by model and by what is left out."""
    heads = {"set": "predictors"}
    for model in results["models"]:
        heads |= {f"{model} {by}": f"{model}, {by} out" for by in _LEFT_OUT}
    mean = dict.fromkeys(results["models"], results["mean_drop"])
    rows = [
        {
            "set": name,
            **{
                f"{model} {by}": "-" if value is None else f"{value:.2f}"
                for model, found in by_model.items()
                for by, value in found.items()
            },
        }
        for name, by_model in {"none: the mean drop": mean, **results["r2"]}.items()
    ]
    return f"## What carries it\n\n{_gains(results)}\n{markdown(heads, rows)}"


def _gains(results: Mapping[str, Any]) -> str:
    """Whether gradients earn their place: they do where the whole interval lies over 0."""
    lines = [
        "Gradients (`conflict`, `row conflict`, `push`) have to earn their place beyond `replay and"
        " level`, says the plan; that also counts what familiarity adds, which needs none.\n"
    ]
    for gain in results["gains"]:
        low, high = gain["interval"]
        answer = "yes" if low > 0 else "no"
        lines.append(
            f"- R2 of the {results['models'][-1]} with all predictors, beyond `{gain['over']}`:"
            f" {gain['gain']:+.2f} ({low:+.2f} to {high:+.2f}). Earned: **{answer}**."
        )
    return "\n".join(lines) + "\n"


def _ways(results: Mapping[str, Any]) -> str:
    heads = {"way": "way", "pairs": "pairs", "mean": "mean drop", "sd": "spread of drops"}
    heads["error"] = "error of the forecast"
    rows = [
        {**row, **{name: f"{row[name]:.1f}" for name in ("mean", "sd", "error")}}
        for row in results["ways"]
    ]
    told = (
        f"The {results['models'][-1]} with all predictors and whole runs left out, in points: the"
        " spread is the standard deviation of the drops, the error the root mean square.\n\n"
    )
    return f"## Way by way\n\n{told}{markdown(heads, rows)}"


def _coefficients(results: Mapping[str, Any]) -> str:
    heads = {"name": "predictor", "group": "group", "what": "what", "points": "points of drop"}
    rows = [
        {
            "name": f"`{name}`",
            "group": group,
            "what": what,
            "points": f"{results['coefficients'][name]:+.1f}",
        }
        for group, predictors in GROUPS.items()
        for name, what in predictors.items()
    ]
    told = (
        "A skill is probed by its rows in the pool that had come before the step. Points are those"
        " of the ridge on all pairs: what one standard deviation more of a predictor, all others"
        " alike, adds to the drop.\n\n"
    )
    return f"## The predictors\n\n{told}{markdown(heads, rows)}"
