from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

N = 120


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


@pytest.fixture
def adaptinf(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> Callable[..., Ended]:
    """The umbrella command, called in the folder of the test."""
    from stages import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["adaptinf", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.adaptinf()
        told = capsys.readouterr()
        code = ended.value.code
        return Ended(code if isinstance(code, int) else 0, told.out, told.err)

    return call


@pytest.fixture
def arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with features.npy and scores.parquet of 120 rows, some odd; we are there."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    features = rng.standard_normal((N, 6)).astype(np.float16)
    features[5] = 0
    features[9, 2] = np.nan
    el2n = rng.uniform(0, 1.4, N).round(1)
    el2n[[3, 50]] = np.nan
    table = {
        "id": [f"r{row}" for row in range(N)],
        "el2n": pa.array(el2n, from_pandas=True),
        "perplexity": rng.lognormal(size=N),
        "dataset": ["llava"] * 70 + ["m3it"] * 50,
        "arrived": [1] * 70 + [2] * 50,
        "note": ["text"] * N,
    }
    np.save(tmp_path / "features.npy", features)
    pq.write_table(pa.table(table), tmp_path / "scores.parquet")
    return tmp_path
