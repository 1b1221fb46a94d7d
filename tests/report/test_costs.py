"""Costs by kind of work."""

from __future__ import annotations

from adaptinf.report.costs import kinds_of, step_costs, total_cost


def test_stages_are_gathered_by_kind() -> None:
    costs = step_costs(
        {
            "0-base": {"evaluate": 4.0},
            "1-a": {
                "ingest": 1,
                "glance": 20,
                "featurize": 2,
                "select": 3,
                "train": 5,
                "evaluate": 7,
                "prune": 9,
            },
        }
    )
    assert [cost.total for cost in costs] == [4.0, 47.0]
    own = {"glance": 20.0, "choose": 5.0, "train": 5.0, "evaluate": 7.0, "other": 10.0}
    assert costs[1].seconds == own
    assert total_cost(costs).seconds == {**own, "evaluate": 11}


def test_a_first_look_is_spoken_of_where_there_was_one() -> None:
    without, looked = step_costs({"1-a": {"train": 5}, "2-b": {"train": 5, "glance": 1}})
    assert kinds_of(looked) == ["glance", *kinds_of(without)]


def test_no_steps() -> None:
    assert total_cost(step_costs({})).total == 0
