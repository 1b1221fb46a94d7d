from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from adaptinf.data.pool import PoolRow, PoolTable
from adaptinf.data.sample import Sample, Turn
from adaptinf.features.store import FeatureStore
from stages.prune import _prune


def row(number: int) -> PoolRow:
    turns = (Turn("user", "q"), Turn("assistant", str(number)))
    uid = f"d:{number:03d}"
    return PoolRow(Sample(uid, uid, uid, "d", None, None, None, (), turns), 1, 5)


@pytest.mark.parametrize("budget", [0, 1, 7, 20, 29])
def test_budget_is_met_and_shared_with_rows_that_were_never_scored(
    tmp_path: Path, budget: int
) -> None:
    """30 rows, 20 of them scored; every scored row has an exact copy later in the pool."""
    pool = PoolTable.from_rows(row(n) for n in range(30))
    scored = [f"d:{n:03d}" for n in range(20)]
    directions = np.random.default_rng(0).normal(size=(10, 8)).astype(np.float32)
    write_store(tmp_path, scored, np.concatenate([directions, directions]))
    gone = _prune(pool, SimpleNamespace(folder=tmp_path), budget, seed=0)
    uids = gone["uid"].to_pylist()
    assert len(uids) == len(set(uids)) == 30 - budget
    share = round(budget * 20 / 30)
    assert len(set(scored) - set(uids)) == share
    kept = set(scored) - set(uids)
    if share <= 10:
        # A copy goes before its older original does.
        assert all(int(uid[2:]) < 10 for uid in kept)
    assert gone["cluster"].null_count == 10 - (budget - share)


def write_store(folder: Path, uids: list[str], embeddings: np.ndarray) -> None:
    import torch

    from adaptinf.features.extractor import BatchFeatures

    rows = np.arange(len(uids))
    store = FeatureStore.create(folder, len(uids), 4, embeddings.shape[1], [rows])
    names = ("perplexity", "el2n", "entropy", "grand", "image_grounding")
    store.write(
        0,
        BatchFeatures(
            gradients=torch.zeros(len(uids), 4),
            gradient_norms=torch.ones(len(uids)),
            embeddings=torch.tensor(embeddings),
            scores={name: torch.ones(len(uids), dtype=torch.float64) for name in names},
            n_answer=torch.ones(len(uids), dtype=torch.int64),
        ),
    )
    store.finish(uids)
    assert pq.read_table(folder / "scores.parquet").num_rows == len(uids)
