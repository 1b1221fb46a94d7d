"""The bill's table: sums, the largest memory, numbers as people read them."""

from __future__ import annotations

import re

import pytest

from stages.bill import Load, StageCost, bill_text
from stages.forecast import Cost


def rows_of(text: str) -> dict[str, list[str]]:
    lines = [re.split(r"\s{2,}", line) for line in text.split("\n\n")[0].splitlines()[2:]]
    return {line[0]: line[1:] for line in lines}


def test_totals_add_up_and_memory_is_the_largest():
    whole = Load(4000, Cost(3e12, 100.0), disk=5e6, memory=7e9)
    half = Load(1000, Cost(2e12, 60.0), disk=2e6, memory=7e9)
    other = Load(50, Cost(0.0, 5.0), disk=1e6, memory=1e9)
    text = bill_text([StageCost("train", whole, half), StageCost("ingest", other, other)])
    assert rows_of(text) == {
        "train": ["4,000", "1,000", "2 T", "1 min 0 s", "2 MB", "7 GB"],
        "ingest": ["50", "50", "-", "5 s", "1 MB", "1 GB"],
        "total": ["4,050", "1,050", "2 T", "1 min 5 s", "3 MB", "7 GB"],
    }
    assert "the whole run from nothing: 3 T FLOPs, 1 min 45 s, 6 MB on disk" in text


def test_a_bill_of_nothing_and_a_huge_one_fit_the_page():
    huge = Load(10**9, Cost(9.99e23, 1e9), disk=1e16, memory=1e13)
    text = bill_text([StageCost("featurize", huge, huge), StageCost("prune", Load(), Load())])
    assert max(map(len, text.splitlines())) <= 100
    assert rows_of(text)["prune"] == ["0", "0", "-", "0 s", "-", "-"]


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0.4, "-"), (999.4, "999 B"), (999.6, "1 kB"), (123_456, "123 kB"), (3.4e12, "3.4 TB")],
)
def test_sizes_have_three_digits(size, shown):
    text = bill_text([StageCost("train", Load(disk=size), Load(disk=size))])
    assert rows_of(text)["train"][4] == shown
