"""Two tasks in a row on a model of every family, from images and text to answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

import stages.context as context_module
from adaptinf.console.display import SilentDisplay
from adaptinf.console.walk import Console
from config import load_recipe
from selection.names import SCORES
from stages.manager import run_lifelong
from tests.families import FAMILIES
from tests.families.processors import PROCESSORS, processor_of

ROWS = 14
"""Rows that are scored."""


def settle(recipe: dict, folder: Path, model: Path, batch_tokens: int, tasks: int) -> Path:
    """A finished run."""
    recipe = {**recipe, "tasks": recipe["tasks"][:tasks]}
    recipe["train"] = {**recipe["train"], "epochs": 1}
    recipe["evaluate"] = {"benchmarks": ["more"], "limit": 2}
    featurize = {**recipe["featurize"], "batch_tokens": batch_tokens, "max_rows": ROWS}
    file = folder / f"{batch_tokens}.yaml"
    recipe = {**recipe, "model": {"name": str(model)}, "featurize": featurize}
    recipe["output_dir"] = str(folder / f"run-{batch_tokens}")
    file.write_text(yaml.safe_dump(recipe))
    run_lifelong(load_recipe(file, []), Console(SilentDisplay(), None))
    return Path(recipe["output_dir"])


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_run_on_the_family_and_its_features_do_not_hang_on_the_batches(
    name: str, recipe_dict: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = processor_of(name)
    model = FAMILIES[name].build()
    model.resize_token_embeddings(len(processor.tokenizer))
    model.save_pretrained(tmp_path / "model")
    # Some processors cannot be read from a folder without torchvision, for the videos' sake.
    monkeypatch.setattr(context_module, "load_processor", lambda source: processor)
    # Every batch one row, and batches of as many rows as there are.
    single = settle(recipe_dict, tmp_path, tmp_path / "model", 1, tasks=1)
    whole = settle(recipe_dict, tmp_path, tmp_path / "model", 100_000, tasks=2)

    matrix = json.loads((whole / "matrix.json").read_text())
    assert matrix["steps"] == ["base", "1-llava", "2-mantis"]
    assert all(0 <= score <= 100 for row in matrix["scores"] for score in row)
    first = Path("steps/1-llava/featurize")
    manifests = [json.loads((run / first / "manifest.json").read_text()) for run in (single, whole)]
    counts = [part["batches"]["count"] for part in manifests]
    assert counts[0] == ROWS
    assert counts[1] <= 3
    tables = [pq.read_table(run / first / "scores.parquet") for run in (single, whole)]
    assert tables[0]["uid"] == tables[1]["uid"]
    for score in SCORES:
        one, all_at_once = (np.array(table[score]) for table in tables)
        assert np.isfinite(one).all()
        np.testing.assert_allclose(all_at_once, one, rtol=2e-5, err_msg=score)
    for array in ("gradients", "embeddings"):
        one, all_at_once = (
            np.load(run / first / f"{array}-00000.npy").astype(np.float32)
            for run in (single, whole)
        )
        # Rounded to half precision.
        np.testing.assert_allclose(all_at_once, one, rtol=2e-3, atol=2e-4, err_msg=array)
    log = [json.loads(line) for line in (whole / "steps/2-mantis/train/log.jsonl").open()]
    assert all(np.isfinite(step["loss"]) for step in log if "loss" in step)
