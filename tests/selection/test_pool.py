from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from selection import Pool

IDS = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"features": np.ones((2, 4))}, "features has 2 rows, but there are 3 ids"),
        ({"features": np.ones(3)}, r"features must be a matrix .*its shape is \(3,\)"),
        ({"features": np.ones((3, 0))}, r"features must be a matrix .*its shape is \(3, 0\)"),
        ({"features": np.ones((3, 4), int)}, "features must be float16 or float32.*int64"),
        ({"embeddings": np.ones((4, 4))}, "embeddings has 4 rows, but there are 3 ids"),
        ({"scores": {"el2n": [1.0, 2.0]}}, r"scores\['el2n'\] has 2 rows, but there are 3 ids"),
        ({"scores": {"el2n": np.ones((3, 1))}}, r"scores\['el2n'\] must be one column"),
        ({"scores": {"el2n": ["x", "y", "z"]}}, r"scores\['el2n'\] must hold numbers"),
        ({"groups": ["g"]}, "groups has 1 rows, but there are 3 ids"),
        ({"arrival": [1, 2]}, "arrival has 2 rows, but there are 3 ids"),
        ({"arrival": [1.5, 2.0, 3.0]}, "arrival must hold whole numbers.*float64"),
    ],
)
def test_a_column_that_does_not_fit_is_named(columns: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pool(IDS, **columns)  # type: ignore[arg-type]


def test_columns_take_one_form() -> None:
    pool = Pool(
        pa.chunked_array([["a", "b"], ["c"]]),  # type: ignore[arg-type]
        np.ones((3, 2), np.float16),
        scores={"el2n": [1, None, 3]},  # type: ignore[dict-item, list-item]
        groups=pa.array(["x", "y", "x"]),  # type: ignore[arg-type]
        arrival=[1, 1, 2],  # type: ignore[arg-type]
    )
    assert len(pool) == 3
    assert pool.ids == ("a", "b", "c")
    assert pool.groups == ("x", "y", "x")
    np.testing.assert_array_equal(pool.scores["el2n"], [1.0, np.nan, 3.0])
    assert pool.arrival is not None
    assert pool.arrival.dtype == np.int64


def test_a_memory_map_is_not_read_into_memory(tmp_path: Path) -> None:
    np.save(tmp_path / "features.npy", np.ones((3, 2), np.float16))
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r", allow_pickle=False)
    pool = Pool(IDS, mapped)
    assert pool.features is not None
    assert np.shares_memory(pool.features, mapped)
