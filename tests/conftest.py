from __future__ import annotations

import os

# One thread per process: the tiny model gains nothing from more, and kills are then repeatable.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded world in small: a few rows per skill and six questions per benchmark."""
    from adaptinf.data.world import build_world
    from adaptinf.data.world.build import WorldSizes

    root = tmp_path_factory.mktemp("world")
    return build_world(root, seed=0, sizes=WorldSizes(scale=0.01, benchmark_rows=6))
