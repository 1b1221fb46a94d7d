"""The page: findings turned into what the template shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from adaptinf import __version__
from adaptinf.files import write_atomically
from adaptinf.report import charts, costs, headlines, wording
from adaptinf.report.findings import Cluster, Findings, Selection, read_findings
from adaptinf.report.foretold import foretold_drops
from adaptinf.report.gallery import Tile, selected_tiles
from adaptinf.report.lapses import find_lapses
from adaptinf.report.official import official_scores
from adaptinf.report.overlaps import overlaps_of
from adaptinf.report.rendering import render
from adaptinf.report.routes import shared_routes
from adaptinf.report.tables import FORMS

TILES_PER_STEP = 8
TILES_IN_ALL = 240
CLUSTERS_SHOWN = 20
LAPSES_SHOWN = 6


@dataclass(frozen=True, slots=True)
class StepView:
    """What one step selected, as the template shows it."""

    name: str
    selection: Selection | None
    clusters: Sequence[Cluster]
    scorers: Sequence[str]
    winners: Sequence[tuple[str, int]]
    tiles: Sequence[Tile]


def write_report(run_folder: Path, out: Path | None = None) -> Path:
    """Write the report of a run and return its path, ``report.html`` in the run folder by default.

    A name that ends in .md, .csv or .json gets the matrix and its measures in that form.

    Raises:
        UserError: the folder holds no matrix, or a file that no run writes.
    """
    target = out or run_folder / "report.html"
    form = FORMS.get(target.suffix)
    text = form(read_findings(run_folder).matrix) if form else build_report(run_folder)
    # Text of a data set may hold half a surrogate pair, which UTF-8 cannot carry.
    write_atomically(target, text.encode(errors="replace"))
    return target


def build_report(run_folder: Path) -> str:
    """The report as one HTML text that fetches nothing; the same run gives the same text.

    Parts whose files are not there are left out with a sentence that says so.

    Raises:
        UserError: the folder holds no matrix, or a file that no run writes.
    """
    findings = read_findings(run_folder)
    return render("report.html.j2", **_context(findings))


def _context(findings: Findings) -> dict[str, Any]:
    matrix = findings.matrix
    order = sorted(
        range(len(matrix.benchmarks)), key=lambda i: _taught(matrix.benchmarks[i].learned_at)
    )
    paths = matrix.per_benchmark()
    ordered = [paths[i] for i in order]
    spent = costs.step_costs(findings.seconds)
    total = costs.total_cost(spent)
    kinds = costs.kinds_of(total)
    steps = [_step_view(findings, step) for step in findings.steps]
    return {
        "name": findings.folder.resolve().name,
        "version": __version__,
        "facts": _facts(findings.recipe),
        "lead": headlines.lead(matrix),
        "headlines": headlines.headlines(matrix),
        "measures": headlines.measures(matrix),
        "matrix": matrix,
        "bridged": findings.bridged,
        "order": order,
        "skills_differ": any(path.name != path.skill for path in paths),
        "metrics": sorted({benchmark.metric for benchmark in matrix.benchmarks}),
        "official": official_scores(findings, order),
        "paths": ordered,
        "heat_map": charts.heat_map(matrix, order),
        "slopes": charts.slopes(ordered),
        "foretold": foretold_drops(findings),
        "accuracy_lines": charts.accuracy_lines(matrix),
        "steps": steps,
        "share_kinds": _datasets(steps),
        "shares": _share_chart(steps),
        "costs": spent,
        "total_cost": total,
        "cost_kinds": kinds,
        "cost_sentence": headlines.cost_sentence(
            total.seconds["glance"] + total.seconds["choose"], total.seconds["train"]
        ),
        "cost_chart": _cost_chart(spent, kinds),
        "lapses": find_lapses(findings, LAPSES_SHOWN),
        "routes": shared_routes(
            findings.step_folder(len(matrix.steps) - 1) / "evaluate" / paths[i].name for i in order
        ),
        "choice": findings.choice,
        "overlaps": overlaps_of(findings.folder / "steps" / step for step in findings.steps),
        "last_step": matrix.steps[-1],
        "recipe": findings.recipe_text,
        "versions": findings.versions,
    }


def _taught(step: int | None) -> float:
    """Sort key: benchmarks in the order in which they are taught, untaught ones at the end."""
    return step or float("inf")


def _facts(recipe: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The choices that readers ask for first; those the recipe does not name are left out."""
    wanted = {
        "Model": ("model", "name"),
        "Adapter": ("adapter", "route"),
        "Selection": ("select", "method"),
        "Budget per step": ("select", "budget"),
        "Seed": ("seed",),
    }
    facts = []
    for title, keys in wanted.items():
        value: Any = recipe
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            facts.append((title, str(value)))
    rehearsed = (recipe.get("rehearse") or {}).get("rows")
    if rehearsed:
        facts.append(("Rehearsed rows per step", str(rehearsed)))
    return facts


def _step_view(findings: Findings, step: str) -> StepView:
    selection = findings.selections.get(step)
    if selection is None:
        return StepView(step, None, (), (), (), ())
    clusters = sorted(selection.clusters, key=lambda cluster: -cluster.budget)
    winners = Counter(cluster.scorer for cluster in clusters if cluster.scorer)
    scorers = {scorer: None for cluster in clusters for scorer in cluster.entropies}
    limit = min(TILES_PER_STEP, max(1, TILES_IN_ALL // len(findings.steps)))
    return StepView(
        step,
        selection,
        clusters[:CLUSTERS_SHOWN],
        tuple(scorers),
        winners.most_common(),
        selected_tiles(findings, step, limit),
    )


def _datasets(steps: Sequence[StepView]) -> list[str]:
    """Datasets that rows were selected from, in order of first appearance."""
    shares = [step.selection.share for step in steps if step.selection is not None]
    return list(dict.fromkeys(dataset for share in shares for dataset in share))


def _share_chart(steps: Sequence[StepView]) -> Markup | None:
    """Rows selected by dataset, one bar per step."""
    datasets = _datasets(steps)
    chosen = [(step.name, step.selection) for step in steps if step.selection is not None]
    if not datasets:
        return None
    bars = [
        charts.Bar(
            name,
            [selection.share.get(dataset, 0) for dataset in datasets],
            f"{wording.count(selection.selected)} of {wording.count(selection.pool_size)}",
        )
        for name, selection in chosen
    ]
    return charts.stacked_bars(bars, datasets, "Rows selected at each step, by dataset", "rows")


def _cost_chart(spent: Sequence[costs.StepCost], kinds: Sequence[str]) -> Markup | None:
    """Seconds by kind, one bar per step."""
    if not spent:
        return None
    bars = [
        charts.Bar(cost.step, [cost.seconds[kind] for kind in kinds], wording.duration(cost.total))
        for cost in spent
    ]
    return charts.stacked_bars(bars, kinds, "Time of each step, by kind of work", "seconds")
