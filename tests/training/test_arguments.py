"""Settings that are handed on: each is seen to act."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from adaptinf.adapters import attach
from adaptinf.data.sample import Sample
from adaptinf.models.loading import ModelSource, load_model
from adaptinf.models.parts import text_layers
from adaptinf.training import TrainSettings, train_adapter
from tests.training.test_trainer import collator, samples  # noqa: F401, fixtures


@pytest.mark.parametrize(
    ("setting", "dtype", "runs"),
    [
        ({}, torch.float32, 5),
        ({"bf16": True}, torch.bfloat16, 5),
        # Once forward, and once more for the way back.
        ({"gradient_checkpointing": True}, torch.float32, 10),
    ],
    ids=["plain", "bf16", "gradient checkpointing"],
)
def test_number_type_checkpointing_and_course_act(
    tmp_path: Path,
    collator: Any,  # noqa: F811
    samples: list[Sample],  # noqa: F811
    setting: dict[str, Any],
    dtype: torch.dtype,
    runs: int,
) -> None:
    model = attach(load_model(ModelSource("tiny")), r=4, dropout=0.0)
    seen: list[torch.dtype] = []
    module = text_layers(model)[1].mlp.up_proj
    module.register_forward_hook(lambda _, args, output: seen.append(output.dtype))
    settings = TrainSettings(
        learning_rate=1e-3, batch_size=2, scheduler="linear", warmup=0, **setting
    )
    train_adapter(model, collator, samples, settings, tmp_path, base="tiny")
    assert seen == [dtype] * runs
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    # Of five steps, down to nothing after the last.
    assert [entry["learning_rate"] for entry in log] == pytest.approx(
        [1e-3, 8e-4, 6e-4, 4e-4, 2e-4]
    )


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_the_attention_kernel_is_that_which_is_asked_for(kernel: str) -> None:
    config = load_model(ModelSource("tiny", attention=kernel)).config
    assert config._attn_implementation == kernel
    assert config.get_text_config()._attn_implementation == kernel
