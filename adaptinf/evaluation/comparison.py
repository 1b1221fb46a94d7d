"""Two runs against each other, question by question, where both were asked the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.stats import permutation_test

from adaptinf.evaluation.answered import (
    bridged_columns,
    columns_between,
    read_matrix,
    step_scores,
)
from adaptinf.evaluation.intervals import Interval, bootstrap_interval, resampled_means
from adaptinf.evaluation.matrix import ACCURACY, BenchmarkColumn
from adaptinf.evaluation.settings import flat_settings

PERMUTATIONS = 9_999


@dataclass(frozen=True, slots=True)
class Difference:
    """A benchmark after the last steps of two runs: scores in percent, second minus first.

    ``chance`` is how likely so large a difference is if the runs were alike (signs of the items'
    differences exchanged at random), held against all benchmarks at once by Holm's method.
    """

    benchmark: str
    items: int
    first: float
    second: float
    interval: Interval
    chance: float

    @property
    def points(self) -> float:
        """By how much the second run is better."""
        return self.second - self.first


@dataclass(frozen=True, slots=True)
class Comparison:
    """``differences`` of what both were asked alike, their mean over benchmarks with its interval.

    ``refused`` tells of other benchmarks why they are not compared. ``settings`` are those of the
    recipes that differ, by key: first and second value. ``left_out`` are in ``differences``, but
    being no accuracies not in the mean.
    """

    differences: list[Difference]
    mean: float | None
    interval: Interval | None
    refused: dict[str, str]
    settings: dict[str, tuple[Any, Any]]
    left_out: list[str]


def compare_runs(first: Path, second: Path) -> Comparison:
    """The last step of two runs.

    Raises:
        UserError: one has no matrix.
    """
    ends = _End.of(first), _End.of(second)
    pairs: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    refused: dict[str, str] = {}
    for name in dict.fromkeys([*ends[0].columns, *ends[1].columns]):
        if not all(name in end.columns for end in ends):
            refused[name] = "only one of the runs has it"
        elif any(name in end.apart for end in ends):
            has = [end.apart.get(name, "percentages") for end in ends]
            refused[name] = f"the first has {has[0]}, the second {has[1]}"
        elif ends[0].columns[name].metric != ends[1].columns[name].metric:
            refused[name] = "scored by different metrics"
        else:
            scores = [end.scores(name) for end in ends]
            if scores[0].keys() == scores[1].keys():
                pairs[name] = tuple(np.array([s[q] for q in scores[0]]) for s in scores)  # type: ignore[assignment]
            else:
                both = len(scores[0].keys() & scores[1].keys())
                most = max(map(len, scores))
                refused[name] = f"only {both} of {most} questions are the same, prompts included"
    alike = _averaged({name: ends[0].columns[name].kind for name in pairs})
    mean, interval = _mean_difference([two - one for one, two in map(pairs.__getitem__, alike)])
    left_out = [name for name in pairs if name not in alike]
    settings = _settings(first, second)
    return Comparison(_differences(pairs), mean, interval, refused, settings, left_out)


def _averaged(kinds: Mapping[str, str]) -> list[str]:
    """Names of those that the mean is over, as the matrix has it; ``kinds`` by name."""
    kind = ACCURACY if ACCURACY in kinds.values() else next(iter(kinds.values()), ACCURACY)
    return [name for name, one in kinds.items() if one == kind]


@dataclass(frozen=True, slots=True)
class _End:
    """Where a run ended: columns by name, and what else is known of those without single scores.

    Such come through lmms-eval, in a unit of their own or not of the last step.
    """

    run: Path
    steps: Sequence[str]
    columns: Mapping[str, BenchmarkColumn]
    apart: Mapping[str, str]

    @classmethod
    def of(cls, run: Path) -> _End:
        matrix = read_matrix(run)
        columns = {c.name: c for c in columns_between(run, matrix, [len(matrix.steps) - 1])}
        rest = [c for c in bridged_columns(run, matrix.steps) if c.name not in columns]
        apart = {
            c.name: "no answers" if c.values[-1] is None else f"{c.metric} {c.values[-1]:g}"
            for c in rest
        }
        return cls(run, matrix.steps, {**columns, **{c.name: c.benchmark() for c in rest}}, apart)

    def scores(self, name: str) -> dict[str, float]:
        return step_scores(self.run, self.steps, len(self.steps) - 1, name)


def _differences(pairs: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> list[Difference]:
    chances = _holm([_chance(one, two) for one, two in pairs.values()])
    return [
        Difference(
            name,
            len(one),
            float(one.mean()),
            float(two.mean()),
            bootstrap_interval(two - one, seed=0),
            chance,
        )
        for (name, (one, two)), chance in zip(pairs.items(), chances, strict=True)
    ]


def _chance(one: np.ndarray, two: np.ndarray) -> float:
    apart = (two - one)[two != one]
    if not apart.size:
        return 1.0
    found = permutation_test(
        (apart,),
        lambda values, axis: values.mean(axis=axis),
        permutation_type="samples",
        n_resamples=PERMUTATIONS,
        vectorized=True,
        batch=256,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def _holm(chances: Sequence[float]) -> list[float]:
    """Each chance as it is held against all of them (Holm 1979)."""
    adjusted = [0.0] * len(chances)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        highest = max(highest, min(1.0, chances[place] * (len(chances) - rank)))
        adjusted[place] = highest
    return adjusted


def _mean_difference(apart: Sequence[np.ndarray]) -> tuple[float | None, Interval | None]:
    """The mean over benchmarks, each worth the same; its interval from items drawn within each."""
    if not apart:
        return None, None
    means = np.mean([resampled_means(each, seed) for seed, each in enumerate(apart)], axis=0)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(np.mean([each.mean() for each in apart])), Interval(float(low), float(high))


def _settings(first: Path, second: Path) -> dict[str, tuple[Any, Any]]:
    one, two = (flat_settings(_recipe(run)) for run in (first, second))
    keys = dict.fromkeys([*one, *two])
    return {key: (one.get(key), two.get(key)) for key in keys if one.get(key) != two.get(key)}


def _recipe(run: Path) -> Any:
    file = run / "config.resolved.yaml"
    return yaml.safe_load(file.read_text()) if file.is_file() else {}
