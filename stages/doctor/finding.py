"""What a check has found, and how a check that breaks off is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from adaptinf.errors import UserError

Verdict = Literal["ok", "warn", "fail"]

STAGES = (
    *("ingest", "overlap", "glance", "featurize", "select", "rehearse", "train"),
    *("evaluate", "prune", "report"),
)
"""In the order of the walk."""

MODEL_STAGES = ("ingest", "glance", "featurize", "rehearse", "train", "evaluate")
"""Those that need the model, or its processor."""

_WORST: tuple[Verdict, ...] = ("fail", "warn")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, whether it will do, what was seen, and what to do about it.

    ``stages`` are those that it matters to.
    """

    check: str
    verdict: Verdict
    seen: str
    todo: str = ""
    stages: tuple[str, ...] = STAGES


@dataclass(frozen=True, slots=True)
class Check:
    """A function that gives findings; ``stages`` are those that an error in it matters to."""

    name: str
    run: Callable[[], Iterable[Finding]]
    stages: tuple[str, ...] = STAGES

    def findings(self) -> list[Finding]:
        """All that it finds. A user's mistake is one of them, and so is whatever else it raises."""
        found: list[Finding] = []
        try:
            found.extend(self.run())
        except Unseen as why:
            found.append(Finding(self.name, "warn", f"not looked at: {why}", stages=self.stages))
        except UserError as error:
            found += [Finding(self.name, "fail", line, stages=self.stages) for line in error.lines]
        except Exception as error:  # a broken library may raise anything, and that is the finding
            seen = f"{type(error).__name__}: {first_line(error)}"
            found.append(Finding(self.name, "fail", seen, stages=self.stages))
        return found


class Unseen(Exception):
    """Something cannot be looked at, because of what another check has found."""


def worst(findings: Iterable[Finding]) -> Verdict:
    """The verdict on all of them together."""
    given = {finding.verdict for finding in findings}
    return next((verdict for verdict in _WORST if verdict in given), "ok")


def first_line(error: BaseException) -> str:
    """The first line that says anything."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), "no more is said")
