"""What a recipe asks of the feature pass, what is told of it, and which old rows it spares."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from adaptinf.console import make_console
from adaptinf.features.store import load_embeddings, load_gradients, load_scores
from config import Featurize, Recipe
from stages import featurize
from stages.manager import open_context, run_lifelong
from stages.sharing import share_stages

E = math.e


class Pool:
    uids = ("a:0", "b:0", "a:1", "b:1", "c:0")

    def strings(self, column: str) -> list[str]:
        return [uid[0] for uid in self.uids]

    def sample(self, position: int) -> str:
        return self.uids[position]


def context(**settings: object) -> SimpleNamespace:
    recipe = SimpleNamespace(featurize=Featurize(**settings), seed=0)
    return SimpleNamespace(recipe=recipe, collator=list, model_fingerprint="m")


def test_the_recipes_perplexity_is_the_extractors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adaptinf.features.extractor.FeatureExtractor", lambda *_, **asked: asked)
    for kind in ("exp-mean", "mean-exp"):
        asked = featurize.extractor_of(None, Featurize(perplexity=kind), 0)
        assert asked["perplexity"] == kind


def test_the_manifest_tells_of_perplexity_only_where_it_is_not_the_usual_one() -> None:
    """A pass that an earlier release has begun goes on: what it told is what is told now."""
    extractor, refresh = SimpleNamespace(layer=2, kind="adapter"), SimpleNamespace(drift={})
    told = [
        featurize._described(context(**settings), extractor, refresh, 5)
        for settings in ({}, {"perplexity": "exp-mean"}, {"perplexity": "mean-exp"})
    ]
    assert told[0] == told[1]
    assert "perplexity" not in told[0]
    assert told[2] == {**told[0], "perplexity": "mean-exp"}


def test_drift_is_the_mean_change_of_log_perplexity(tmp_path: Path) -> None:
    """Logarithms of a: 1 and 2, then 1.5 and 1.75; of b: 0 and 3, then 0.02 and 2.94."""
    before = {"uid": ["a:1", "b:1", "a:0", "b:0"], "perplexity": [E, 1.0, E**2, E**3]}
    pq.write_table(pa.table(before), tmp_path / "scores.parquet")
    now = {"a:1": 1.5, "a:0": 1.75, "b:1": 0.02, "b:0": 2.94}

    def extractor(uids: list[str]) -> SimpleNamespace:
        perplexity = torch.tensor([math.exp(now[uid]) for uid in uids], dtype=torch.float64)
        return SimpleNamespace(scores={"perplexity": perplexity})

    found = featurize._refresh(
        context(drift=0.1), Pool(), np.arange(5), SimpleNamespace(folder=tmp_path), extractor
    )
    assert found.drift == pytest.approx({"a": 0.375, "b": 0.04})
    # Places before: b:0 is 3, b:1 is 1. Of a all are stale, and c:0 is new.
    assert found.reused.tolist() == [-1, 3, -1, 1, -1]


def test_a_run_by_embeddings_needs_no_gradients(
    undisturbed: Path, tmp_path: Path, recipe_dict: dict
) -> None:
    """The first step of a run, whose base answers come from one that has gradients."""
    run, other = tmp_path / "run", undisturbed
    bare = recipe_dict | {
        "output_dir": str(run),
        "tasks": [{"dataset": "mantis"}],
        "featurize": {**recipe_dict["featurize"], "gradients": "none"},
        "select": {"budget": 4, "features": "embeddings"},
    }
    recipe = Recipe(**bare)
    share_stages(open_context(recipe), [other])
    run_lifelong(recipe, make_console(None))
    folder = run / "steps" / "1-mantis" / "featurize"
    assert json.loads((folder / "manifest.json").read_text())["settings"]["gradients"] == "none"
    scores = load_scores(folder)
    assert load_gradients(folder).shape == (scores.num_rows, 1)
    assert load_embeddings(folder).shape[1] > 1
    assert np.isnan(scores["grand"].to_numpy()).all()
    summary = json.loads((folder.parent / "select" / "summary.json").read_text())
    assert summary["selected"] == 4
    assert all("grand" not in cluster["entropies"] for cluster in summary["clusters"])
