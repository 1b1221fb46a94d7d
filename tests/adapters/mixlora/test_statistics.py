from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from adaptinf.adapters.mixlora import Choice, RouteCounts, routes_of

Make = Callable[..., Any]


def test_counts_by_hand() -> None:
    counts = RouteCounts(experts=4)
    a = torch.tensor([[0, 1], [1, 3], [1, 0]])
    b = torch.tensor([[2, 3], [2, 3], [2, 0]])
    counts.add({"up": Choice(a, b)}, ["ocr", "caption", "ocr"])
    counts.add({"up": Choice(a[:1], b[:1])}, ["ocr"])
    assert counts.of("up", "a", "ocr").tolist() == [3, 3, 0, 0]
    assert counts.of("up", "a", "caption").tolist() == [0, 1, 0, 1]
    assert counts.of("up", "b", "ocr").tolist() == [1, 0, 3, 2]
    assert counts.of("down", "b", "ocr").tolist() == [0, 0, 0, 0]
    table = counts.table()
    assert table.column_names == ["layer", "side", "label", "factor", "count"]
    assert table.num_rows == 4 * 4
    # Four rows, two factors of each pool.
    assert sum(table["count"].to_pylist()) == 4 * 2 * 2
    with pytest.raises(ValueError, match="1 labels for 3 rows"):
        counts.add({"up": Choice(a, b)}, ["ocr"])
    assert RouteCounts(4).table().num_rows == 0


def test_routes_are_read_from_the_model(
    make_adapted: Make, collate: Make, rows: list[Any], prompts: list[Any]
) -> None:
    model = make_adapted()
    assert routes_of(model) == {}
    with torch.no_grad():
        model(**collate(rows, labels=True))
    trained = routes_of(model)
    assert len(trained) == 14
    assert all(name.endswith("_proj") for name in trained)
    model.generate(**collate(prompts), max_new_tokens=2, do_sample=False)
    for name, choice in routes_of(model).items():
        assert torch.equal(choice.a, trained[name].a)
        assert choice.b.shape == (len(rows), 2)
    counts = RouteCounts(6)
    counts.add(trained)
    name, choice = next(iter(trained.items()))
    assert counts.of(name, "a").tolist() == choice.a.flatten().bincount(minlength=6).tolist()
