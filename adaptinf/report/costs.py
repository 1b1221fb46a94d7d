"""Where the time went: choosing the data against training and evaluating."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

KINDS = ("glance", "choose", "train", "evaluate", "other")
_KIND_OF_STAGE = {
    "glance": "glance",
    "featurize": "choose",
    "select": "choose",
    "rehearse": "train",
    "train": "train",
    "evaluate": "evaluate",
}


@dataclass(frozen=True, slots=True)
class StepCost:
    """Seconds of one step by kind; "choose" is featurize and select together.

    "glance" is the first look at a pool of which only some rows are featurized; "train" has what
    makes rows for it, too.
    """

    step: str
    seconds: Mapping[str, float]

    @property
    def total(self) -> float:
        """Seconds of all stages of the step."""
        return sum(self.seconds.values())


def step_costs(seconds: Mapping[str, Mapping[str, float]]) -> list[StepCost]:
    """One entry per step, from seconds by step and stage."""
    costs = []
    for step, stages in seconds.items():
        kinds = dict.fromkeys(KINDS, 0.0)
        for stage, spent in stages.items():
            kinds[_KIND_OF_STAGE.get(stage, "other")] += spent
        costs.append(StepCost(step, kinds))
    return costs


def total_cost(costs: list[StepCost]) -> StepCost:
    """The sum over the steps."""
    return StepCost("all", {kind: sum(cost.seconds[kind] for cost in costs) for kind in KINDS})


def kinds_of(total: StepCost) -> list[str]:
    """The kinds that a page speaks of: "glance" only where there was one."""
    return [kind for kind in KINDS if kind != "glance" or total.seconds[kind] > 0]
