"""The official totals of published benchmarks after each step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adaptinf.errors import UserError
from adaptinf.report.findings import Findings


@dataclass(frozen=True, slots=True)
class Official:
    """A benchmark by its own rules.

    ``measures`` has the values after each step by the name of the measure, the headline first; None
    where a step has no such number. They are in percent but where the benchmark sums them up.
    ``probed`` are the steps that were asked a part of the questions, of which these then are.
    """

    benchmark: str
    rules: str
    source: str
    measures: dict[str, list[float | None]]
    probed: list[bool]

    @property
    def headline(self) -> str:
        """The name of the number that is usually quoted."""
        return next(iter(self.measures))


def official_scores(findings: Findings, order: Sequence[int]) -> list[Official]:
    """Of those columns of the matrix that are published benchmarks, in ``order``.

    Raises:
        UserError: a file of scores is not what a run writes.
    """
    folders = [findings.step_folder(row) for row in range(len(findings.matrix.steps))]
    found = []
    for i in order:
        name = findings.matrix.benchmarks[i].name
        told = [_told(folder / "evaluate" / name / "scores.json") for folder in folders]
        if any(told):
            found.append(_joined(name, told, findings.matrix.probed[:, i].tolist()))
    return found


@dataclass(frozen=True, slots=True)
class _Told:
    """What one step says."""

    rules: str
    source: str
    totals: dict[str, float]


def _told(file: Path) -> _Told | None:
    """None where there is no such file, or no official totals in it."""
    try:
        told = json.loads(file.read_text(encoding="utf-8")).get("official")
        if told is None:
            return None
        totals = {name: float(value) for name, value in told["totals"].items()}
        return _Told(str(told["rules"]), str(told["source"]), totals)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError("not a file of scores", where=str(file), seen=str(error)) from None


def _joined(benchmark: str, told: Sequence[_Told | None], probed: list[bool]) -> Official:
    steps = [one.totals if one else {} for one in told]
    first = next(one for one in told if one)
    names = dict.fromkeys(name for totals in steps for name in totals)
    measures = {name: [totals.get(name) for totals in steps] for name in names}
    return Official(benchmark, first.rules, first.source, measures, probed)
