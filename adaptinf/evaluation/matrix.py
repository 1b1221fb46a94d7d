"""The accuracy matrix: every benchmark after every step, with the untouched base model as row 0."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from adaptinf.errors import UserError, suggestion
from adaptinf.evaluation import metrics
from adaptinf.evaluation.table import matrix_table
from adaptinf.folders import is_plain_name

ACCURACY = "accuracy"


@dataclass(frozen=True, slots=True)
class BenchmarkColumn:
    """What a column of the matrix measures.

    ``n`` counts its items. ``learned_at`` is the first step (1, 2, ..) whose dataset teaches the
    skill, None where none does; it may lie beyond the last row while a run is under way. ``kind``
    is an accuracy, or the similarity of that name.
    """

    name: str
    skill: str
    metric: str
    n: int
    learned_at: int | None
    kind: str = ACCURACY


@dataclass(frozen=True, slots=True)
class BenchmarkPath:
    """One benchmark along the run, percent; None where it was not trained on (yet).

    ``first`` is the base model, ``learned`` the step that taught it, ``best`` the highest row since
    then, ``last`` the last row, ``drop`` the max-drop whose mean is the forgetting.
    """

    name: str
    skill: str
    learned_at: int | None
    first: float
    learned: float | None
    best: float | None
    last: float
    drop: float | None


@dataclass(frozen=True, slots=True, eq=False)
class AccuracyMatrix:
    """Scores of every benchmark after every step, and the measures of continual learning on them.

    ``steps`` names the rows, the base model first. ``scores`` [rows, columns] is in percent and
    becomes a read-only float64 array; ``intervals`` [rows, columns, 2] holds low and high ends.
    ``asked`` [rows, columns] counts the items behind each cell, all of them where it is None; of
    fewer the score is an estimate for all.
    Measures are in percent or points, None where undefined; `adaptinf.evaluation.metrics` holds
    their formulas. Means over benchmarks are of one kind of score, see ``averaged``.

    Raises:
        UserError: no row or column, a doubled name, a wrong shape, a cell missing or not finite.
    """

    steps: Sequence[str]
    benchmarks: Sequence[BenchmarkColumn]
    scores: np.ndarray
    intervals: np.ndarray | None = None
    asked: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Takes what the caller has (lists, arrays) and refuses what is no complete matrix."""
        for field in ("steps", "benchmarks"):
            object.__setattr__(self, field, tuple(getattr(self, field)))
        _check_names("step", self.steps)
        _check_names("benchmark", [benchmark.name for benchmark in self.benchmarks])
        for benchmark in self.benchmarks:
            if not isinstance(benchmark.n, int):
                told = f"accuracy matrix: {benchmark.name!r} has no number of items"
                raise UserError(told, seen=benchmark.n)
            at = benchmark.learned_at
            if at is not None and (not isinstance(at, int) or at < 1):
                raise UserError(
                    f"accuracy matrix: learned_at of {benchmark.name!r} is no step",
                    seen=at,
                    hint="steps count from 1; null means never trained on",
                )
        object.__setattr__(self, "scores", self._grid("scores", self.scores))
        for field in ("intervals", "asked"):
            if (cells := getattr(self, field)) is not None:
                object.__setattr__(self, field, self._grid(field, cells))

    def _grid(self, field: str, cells: object) -> np.ndarray:
        """``cells`` as a read-only array of the shape that the names ask for, each cell finite."""
        shape = (len(self.steps), len(self.benchmarks), *([2] if field == "intervals" else []))
        try:
            grid = np.array(cells, dtype=np.float64)
        except (TypeError, ValueError):
            raise UserError(f"accuracy matrix: {field} are not a full grid of numbers") from None
        if grid.shape != shape:
            raise UserError(
                f"accuracy matrix: {field} do not fit the names",
                seen=grid.shape,
                hint=f"{len(self.steps)} steps and {len(self.benchmarks)} benchmarks need {shape}",
            )
        if not np.isfinite(grid).all():
            row, column = (int(at) for at in np.argwhere(~np.isfinite(grid))[0][:2])
            cell = f"benchmark {self.benchmarks[column].name!r} after step {self.steps[row]!r}"
            raise UserError(
                f"accuracy matrix: no number in {field} for {cell}",
                hint="every benchmark is scored after every step",
            )
        grid.setflags(write=False)
        return grid

    @property
    def learned(self) -> np.ndarray:
        """The step that first taught each benchmark [N], 0 for none."""
        return np.array([benchmark.learned_at or 0 for benchmark in self.benchmarks])

    @property
    def averaged(self) -> np.ndarray:
        """Which benchmarks [N] means are taken over: accuracies, or all of the first one's kind.

        A similarity of captions in percent is not the unit of an accuracy.
        """
        kinds = [benchmark.kind for benchmark in self.benchmarks]
        kind = ACCURACY if ACCURACY in kinds else kinds[0]
        return np.array([one == kind for one in kinds])

    @property
    def left_out(self) -> list[str]:
        """Names of the benchmarks that means leave out."""
        pairs = zip(self.benchmarks, self.averaged.tolist(), strict=True)
        return [benchmark.name for benchmark, averaged in pairs if not averaged]

    @property
    def probed(self) -> np.ndarray:
        """Which cells [rows, N] are estimates from a part of the items."""
        every = np.array([benchmark.n for benchmark in self.benchmarks])
        return np.zeros(self.scores.shape, bool) if self.asked is None else self.asked < every

    def average_accuracy(self, step: int | None = None) -> float:
        """Mean over averaged benchmarks after ``step`` (0: base model; by default the last one)."""
        return metrics.average_accuracy(self._means, self._row(step))

    def average_seen_accuracy(self, step: int | None = None) -> float | None:
        """Mean after ``step`` over the benchmarks taught by then."""
        return metrics.average_seen_accuracy(self._means, self._learned, self._row(step))

    def mean_average_accuracy(self) -> float | None:
        """Mean of `average_seen_accuracy` over the steps."""
        return metrics.mean_average_accuracy(self._means, self._learned)

    def learning_accuracy(self) -> float | None:
        """Mean score of each benchmark right after the step that taught it."""
        return metrics.learning_accuracy(self._means, self._learned)

    def backward_transfer(self) -> float | None:
        """Mean change since each benchmark was learned, up to the last step; points."""
        return metrics.backward_transfer(self._means, self._learned)

    def forward_transfer(self) -> float | None:
        """Mean gain over the base model just before each benchmark was learned; points."""
        return metrics.forward_transfer(self._means, self._learned)

    def forgetting(self, kind: metrics.Forgetting = "max-drop") -> float | None:
        """Mean loss at the end, since the best step (max-drop) or the learned one (end-drop).

        Raises:
            UserError: another kind.
        """
        if kind not in ("max-drop", "end-drop"):
            raise UserError(
                "unknown kind of forgetting",
                seen=kind,
                hint=suggestion(kind, ("max-drop", "end-drop")),
            )
        return metrics.forgetting(self._means, self._learned, kind)

    def worst_drop(self) -> float | None:
        """Mean over benchmarks of the deepest fall on the way, mended later or not; points."""
        return metrics.worst_drop(self._means, self._learned)

    def relative_gain(self, reference: Mapping[str, float]) -> float | None:
        """Last row in percent of a reference score per skill, averaged over the skills.

        ``reference`` could be `best_by_skill` of a sequential run, as in the paper.

        Raises:
            UserError: a skill has no reference.
        """
        skills = self._skills()
        missing = [skill for skill in skills if skill not in reference]
        if missing:
            raise UserError(f"relative gain: no reference for skill {missing[0]!r}")
        levels = np.array([reference[skill] for skill in skills], dtype=np.float64)
        return metrics.relative_gain(self._skill_scores(), levels)

    def best_by_skill(self) -> dict[str, float]:
        """Highest score of each skill after any step (the base model's where there is no step)."""
        rows = self._skill_scores()
        best = (rows[1:] if len(rows) > 1 else rows).max(axis=0)
        return dict(zip(self._skills(), best.tolist(), strict=True))

    def forgetting_rate(self) -> float | None:
        """Mean fall below the best so far, in percent of it, over later steps and skills."""
        groups = self._skills().values()
        taught = [[int(at) for at in self.learned[columns] if at] for columns in groups]
        learned = np.array([min(at, default=0) for at in taught])
        return metrics.forgetting_rate(self._skill_scores(), learned)

    def retention(self) -> float | None:
        """Mean change against the base model on benchmarks that no step teaches; points."""
        return metrics.retention(self._means, self._learned)

    def per_benchmark(self) -> list[BenchmarkPath]:
        """One row per benchmark, in column order."""
        lost = metrics.drops(self.scores, self.learned, "max-drop")
        paths = []
        for i, benchmark in enumerate(self.benchmarks):
            at = benchmark.learned_at
            since = self.scores[at:, i] if at is not None else np.empty(0)
            paths.append(
                BenchmarkPath(
                    benchmark.name,
                    benchmark.skill,
                    at,
                    first=float(self.scores[0, i]),
                    learned=float(since[0]) if since.size else None,
                    best=float(since.max()) if since.size else None,
                    last=float(self.scores[-1, i]),
                    drop=None if np.isnan(lost[i]) else float(lost[i]),
                )
            )
        return paths

    def measures(self) -> dict[str, float | list[float | None] | None]:
        """Every measure that needs no reference, by name: the ``metrics`` of ``matrix.json``."""
        rows = range(len(self.steps))
        return {
            "average_accuracy": self.average_accuracy(),
            "average_accuracy_by_step": [self.average_accuracy(row) for row in rows],
            "average_seen_accuracy_by_step": [self.average_seen_accuracy(row) for row in rows],
            "mean_average_accuracy": self.mean_average_accuracy(),
            "learning_accuracy": self.learning_accuracy(),
            "backward_transfer": self.backward_transfer(),
            "forward_transfer": self.forward_transfer(),
            "forgetting_max_drop": self.forgetting("max-drop"),
            "forgetting_end_drop": self.forgetting("end-drop"),
            "worst_drop": self.worst_drop(),
            "forgetting_rate": self.forgetting_rate(),
            "retention": self.retention(),
        }

    def to_json(self) -> str:
        """The text of ``matrix.json``: the matrix and its measures, undefined ones null."""
        content = {
            "steps": self.steps,
            "benchmarks": [_described(benchmark) for benchmark in self.benchmarks],
            "scores": self.scores.tolist(),
            "intervals": None if self.intervals is None else self.intervals.tolist(),
            **({} if self.asked is None else {"asked": self.asked.astype(int).tolist()}),
            "metrics": self.measures(),
        }
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> AccuracyMatrix:
        """The matrix that `to_json` wrote; its measures are computed again, not read.

        Raises:
            UserError: not JSON, a key missing, or no complete matrix.
        """
        try:
            content = json.loads(text)
            columns = [BenchmarkColumn(**benchmark) for benchmark in content["benchmarks"]]
            grids = (content["scores"], content.get("intervals"), content.get("asked"))
            return cls(content["steps"], columns, *grids)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UserError("not an accuracy matrix in JSON", seen=str(error)) from None

    def table(self) -> str:
        """The matrix as plain text of at most 100 columns: benchmarks down, steps across, drop."""
        names = [benchmark.name for benchmark in self.benchmarks]
        lost = metrics.drops(self.scores, self.learned, "max-drop")
        return matrix_table(
            self.steps,
            names,
            self.scores,
            self.learned,
            lost,
            averaged=self.averaged,
            probed=self.probed,
        )

    @property
    def _means(self) -> np.ndarray:
        """Scores [rows, averaged benchmarks]."""
        return self.scores[:, self.averaged]

    @property
    def _learned(self) -> np.ndarray:
        return self.learned[self.averaged]

    def _row(self, step: int | None) -> int:
        last = len(self.steps) - 1
        if step is None:
            return last
        if not 0 <= step <= last:
            raise ValueError(f"step {step} is not a row; rows are 0 to {last}")
        return step

    def _skills(self) -> dict[str, list[int]]:
        """Averaged columns of each skill, in order of first appearance."""
        columns: dict[str, list[int]] = {}
        for i in np.flatnonzero(self.averaged).tolist():
            benchmark = self.benchmarks[i]
            columns.setdefault(benchmark.skill, []).append(i)
        return columns

    def _skill_scores(self) -> np.ndarray:
        """Mean of each skill's benchmarks after each step [rows, S]."""
        return np.stack([self.scores[:, c].mean(axis=1) for c in self._skills().values()], axis=1)


def _described(column: BenchmarkColumn) -> dict[str, object]:
    """A column as ``matrix.json`` has it: of accuracies the kind goes without saying."""
    told = asdict(column)
    return {key: value for key, value in told.items() if (key, value) != ("kind", ACCURACY)}


def _check_names(kind: str, names: Sequence[str]) -> None:
    if not names:
        raise UserError(f"accuracy matrix: it has no {kind}")
    odd = next((name for name in names if not is_plain_name(name)), None)
    if odd is not None:
        raise UserError(f"accuracy matrix: no name of a {kind}", seen=odd)
    doubled = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if doubled is not None:
        raise UserError(f"accuracy matrix: {kind} named twice", seen=doubled)
