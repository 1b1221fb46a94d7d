"""Costs by kind of work."""

from __future__ import annotations

from adaptinf.report.costs import step_costs, total_cost


def test_stages_are_gathered_by_kind() -> None:
    costs = step_costs(
        {
            "0-base": {"evaluate": 4.0},
            "1-a": {
                "ingest": 1,
                "featurize": 2,
                "select": 3,
                "train": 5,
                "evaluate": 7,
                "prune": 9,
            },
        }
    )
    assert [cost.total for cost in costs] == [4.0, 27.0]
    assert costs[1].seconds == {"choose": 5.0, "train": 5.0, "evaluate": 7.0, "other": 10.0}
    assert total_cost(costs).seconds == {"choose": 5, "train": 5, "evaluate": 11, "other": 10}


def test_no_steps() -> None:
    assert total_cost(step_costs({})).total == 0
