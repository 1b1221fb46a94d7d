"""Can a skill's drop in the coming step be told from what is stored before it trains?

The forecast of docs/study_plan.md, from the finished runs that have features at every step.
``python scripts/study_forecast.py runs/study`` writes docs/forecast.json and docs/forecast.md;
the same again takes in what has finished since.
"""

from __future__ import annotations

import os

# As in study.py; the trees are no faster with more.
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from adaptinf.errors import UserError
from selection.names import FEATURELESS
from stages.seals import are_sealed
from study_pairs import Pair, pairs_of
from study_plan import Cell, Plan, read_plan
from study_predictors import GROUPS, PREDICTORS

ROOT = Path(__file__).parents[1]
TABLES = ("main", "forecast")
HOLDS, TREES_FROM = 0.5, 0.3
"""R2 with whole runs left out: from where on the forecast holds, and trees are tried."""
LARGE = 10.0
"""Points of a drop that one would like to be warned of."""
DRAWS = 2000

Values = NDArray[np.float64]
Positions = NDArray[np.int64]


def ridge() -> Any:
    """Ridge regression on standardised predictors, its penalty by generalised cross-validation."""
    fill = SimpleImputer(keep_empty_features=True)
    return make_pipeline(fill, StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))


def trees() -> Any:
    """Gradient-boosted trees, with scikit-learn's own settings."""
    return HistGradientBoostingRegressor(random_state=0)


MODELS: Mapping[str, Callable[[], Any]] = {"ridge": ridge, "trees": trees}
EVERY = tuple(GROUPS)
SETS: Mapping[str, Sequence[str]] = {
    "all": EVERY,
    "replay and level": ("replay", "level"),
    **{f"{name} alone": (name,) for name in EVERY},
    **{f"all but {name}": tuple(one for one in EVERY if one != name) for name in EVERY},
    "all but both conflicts": ("replay", "push", "familiarity", "level"),
    "replay, familiarity and level": ("replay", "familiarity", "level"),
}
"""Groups of predictors that are tried together."""
BESIDE = ("replay and level", "replay, familiarity and level")
"""What gradients have to earn their place beyond: the plan's bar, and all that needs none."""


class Table:
    """Pairs as arrays: ``x`` [n, predictors], ``drop`` [n] in points, ``labels`` [n] by kind."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.x = np.array([[pair.predictors[name] for name in PREDICTORS] for pair in pairs])
        self.drop = np.array([pair.drop for pair in pairs])
        self.labels = {
            "runs": np.array([pair.run for pair in pairs]),
            "seeds": np.array([pair.seed for pair in pairs]),
            "ways": np.array([pair.way for pair in pairs]),
        }

    def left_out(self, model: Any, groups: Sequence[str], by: str) -> Values:
        """What a model says of each pair [n], fitted without its whole run, seed or way."""
        names = [name for group in groups for name in GROUPS[group]]
        x = self.x[:, [PREDICTORS.index(name) for name in names]]
        return cross_val_predict(model, x, self.drop, groups=self.labels[by], cv=LeaveOneGroupOut())

    def r2(self, model: Any, groups: Sequence[str]) -> dict[str, float | None]:
        """R2 over all pairs, with whole runs, seeds and ways left out; None where there is one."""
        several = {by for by, labels in self.labels.items() if len(set(labels.tolist())) > 1}
        return {
            by: _short(r2_score(self.drop, self.left_out(model, groups, by)))
            if by in several
            else None
            for by in self.labels
        }

    def interval(self, figure: Callable[[Positions], float]) -> list[float]:
        """95 % interval of a figure of some pairs, by drawing runs anew; forecasts stay."""
        runs = self.labels["runs"]
        places = [np.flatnonzero(runs == run) for run in np.unique(runs)]
        rng = np.random.default_rng(0)
        drawn = (rng.integers(len(places), size=len(places)) for _ in range(DRAWS))
        found = [figure(np.concatenate([places[run] for run in draw])) for draw in drawn]
        return [_short(end) for end in np.quantile(found, (0.025, 0.975))]


def forecast_of(pairs: Sequence[Pair]) -> dict[str, Any]:
    """How well drops are told, by models and sets of predictors.

    Raises:
        UserError: pairs of fewer than two runs.
    """
    table = Table(pairs)
    if len(set(table.labels["runs"].tolist())) < 2:
        raise UserError("a forecast needs two finished runs with features")
    models = ["ridge"]
    r2 = {name: {"ridge": table.r2(ridge(), groups)} for name, groups in SETS.items()}
    if r2["all"]["ridge"]["runs"] >= TREES_FROM:
        models.append("trees")
        for name, groups in SETS.items():
            r2[name]["trees"] = table.r2(trees(), groups)
    best = models[-1]
    told = {name: table.left_out(MODELS[best](), SETS[name], "runs") for name in ("all", *BESIDE)}
    return {
        "seeds": len(set(table.labels["seeds"].tolist())),
        "pairs": len(pairs),
        "drop": {"mean": _short(table.drop.mean()), "sd": _short(table.drop.std())},
        "constant": [name for name, x in zip(PREDICTORS, table.x.T, strict=True) if np.ptp(x) == 0],
        "unknown": int(np.isnan(table.x).any(axis=1).sum()),
        "models": models,
        "mean_drop": table.r2(DummyRegressor(), EVERY),
        "r2": r2,
        "interval": table.interval(lambda rows: r2_score(table.drop[rows], told["all"][rows])),
        "gains": [_gain(table, told, name) for name in BESIDE],
        "without": _without(pairs, MODELS[best]),
        "coefficients": _coefficients(table),
        "ways": _by_way(table, told["all"]),
        "large": _large(table.drop, told["all"]),
        "bar": HOLDS,
        "holds": r2["all"][best]["runs"] >= HOLDS,
    }


def _gain(table: Table, told: Mapping[str, Values], beside: str) -> dict[str, Any]:
    """What R2 gains by all predictors over a set of them, with whole runs left out."""

    def gain(rows: Positions) -> float:
        drop = table.drop[rows]
        return r2_score(drop, told["all"][rows]) - r2_score(drop, told[beside][rows])

    every = np.arange(len(table.drop))
    return {"over": beside, "gain": _short(gain(every)), "interval": table.interval(gain)}


def _without(pairs: Sequence[Pair], model: Callable[[], Any]) -> dict[str, Any] | None:
    """R2 where the way whose drops spread most is left aside: R2 hangs on it most."""
    drops: dict[str, list[float]] = {}
    for pair in pairs:
        drops.setdefault(pair.way, []).append(pair.drop)
    widest = max(drops, key=lambda way: np.std(drops[way]))
    others = [pair for pair in pairs if pair.way != widest]
    if len({pair.run for pair in others}) < 2:
        return None
    return {"way": widest, "r2": Table(others).r2(model(), EVERY)}


def _coefficients(table: Table) -> dict[str, float]:
    """Points of drop for one standard deviation of each predictor, by the ridge on all pairs."""
    fitted = ridge().fit(table.x, table.drop)
    return {n: _short(c) for n, c in zip(PREDICTORS, fitted[-1].coef_, strict=True)}


def _by_way(table: Table, told: Values) -> list[dict[str, Any]]:
    """How far the forecast is off in the runs of each way, beside how far drops spread there."""
    ways = table.labels["ways"]
    rows = []
    for way in np.unique(ways).tolist():
        drop, said = table.drop[ways == way], told[ways == way]
        off = _short(np.sqrt(np.mean((said - drop) ** 2)))
        spread = {"pairs": len(drop), "mean": _short(drop.mean()), "sd": _short(drop.std())}
        rows.append({"way": way, **spread, "error": off})
    return rows


def _large(drop: Values, told: Values) -> dict[str, Any]:
    """Large drops, those that were forecast as large, and those of which both is true."""
    real, warned = drop >= LARGE, told >= LARGE
    return {
        "points": LARGE,
        "drops": int(real.sum()),
        "warnings": int(warned.sum()),
        "right": int((real & warned).sum()),
    }


def _short(value: float) -> float:
    return round(float(value), 3) + 0.0  # -0.0 is 0.0


def watched_cells(plan: Plan) -> list[Cell]:
    """The runs of the main table and of the forecast's own that have features at every step."""
    return [
        cell
        for cell in plan.cells(TABLES, (), ())
        if plan.ways[cell.way].get("select.method", plan.primary) not in FEATURELESS
        or "prune.pool_budget" in plan.ways[cell.way]
    ]


def main(arguments: list[str] | None = None) -> int:
    """Read the runs, write the results, print the page; the exit status."""
    from study_forecast_page import page_of

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="folder of the study's runs")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/forecast", help="without suffix")
    options = parser.parse_args(arguments)
    cells = watched_cells(read_plan())
    there = [cell for cell in cells if are_sealed(options.runs / cell.name)]
    try:
        found = forecast_of([p for cell in there for p in pairs_of(options.runs / cell.name)])
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    missing = [cell.name for cell in cells if cell not in there]
    results = {"runs": len(there), "missing": missing, **found}
    text = page_of(results)
    options.out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(text)
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
