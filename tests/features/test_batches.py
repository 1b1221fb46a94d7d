from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptinf.features.batches import plan_batches


def listed(batches):
    return [batch.tolist() for batch in batches]


def test_longest_rows_come_first_and_equal_ones_keep_their_order():
    assert listed(plan_batches([2, 5, 2, 9, 5, 2], 10)) == [[3], [1, 4], [0, 2, 5]]


def test_a_row_longer_than_the_budget_has_a_batch_to_itself():
    assert listed(plan_batches([3, 50, 40], 10)) == [[1], [2], [0]]


def test_groups_do_not_share_batches():
    assert listed(plan_batches([4, 4, 4, 4], 100, [True, False, True, False])) == [[1, 3], [0, 2]]


def test_nothing_makes_no_batch():
    assert plan_batches([], 10) == []


@pytest.mark.parametrize(("lengths", "group"), [([3, 0], None), ([3, 1], [True])])
def test_columns_that_make_no_sense_are_refused(lengths, group):
    with pytest.raises(ValueError, match="length"):
        plan_batches(lengths, 10, group)


@given(st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=80), st.integers(1, 200))
def test_every_row_is_in_one_batch_that_fits(rows, budget):
    lengths = np.array([length for length, _ in rows], dtype=np.int64)
    group = np.array([flag for _, flag in rows], dtype=bool)
    batches = plan_batches(lengths, budget, group)
    assert sorted(i for batch in batches for i in batch) == list(range(len(rows)))
    for batch in batches:
        assert batch.dtype == np.int64
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= budget
        assert len(set(group[batch].tolist())) == 1
    for one, two in itertools.pairwise(batches):
        if group[one[0]] == group[two[0]]:
            # No batch could have taken the first row of the next one of its group.
            assert (len(one) + 1) * lengths[one].max() > budget
