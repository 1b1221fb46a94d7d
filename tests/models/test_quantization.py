"""Base models in fewer bits: what is refused, and where bitsandbytes is, what they learn."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers.integrations
import transformers.utils
from torch import nn

from adaptinf.adapters import attach
from adaptinf.errors import UserError
from adaptinf.features.extractor import FeatureExtractor
from adaptinf.models.loading import ModelSource, load_config, load_model, model_fingerprint
from adaptinf.models.parts import text_layers
from tests.training.test_trainer import collator, run, samples  # noqa: F401, fixtures

TINY = ModelSource("tiny")
bits = pytest.mark.parametrize("kind", ["4bit", "8bit"])


def test_bits_are_part_of_the_fingerprint() -> None:
    kinds = [dataclasses.replace(TINY, quantize=kind) for kind in (None, "4bit", "8bit")]
    assert len({model_fingerprint(source) for source in kinds}) == 3


def test_missing_packages_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers.utils, "is_bitsandbytes_available", lambda: False)
    with pytest.raises(UserError, match=r"not installed.*4bit.*adaptinf\[quantize\]"):
        load_model(dataclasses.replace(TINY, quantize="4bit"))


def test_a_build_for_no_device_of_this_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(raise_exception: bool) -> None:
        raise RuntimeError("None of the available devices are supported")

    monkeypatch.setattr(transformers.utils, "is_bitsandbytes_available", lambda: True)
    # Not setattr: to look at what was there would import bitsandbytes.
    there = vars(transformers.integrations)
    monkeypatch.setitem(there, "validate_bnb_backend_availability", refuse)
    with pytest.raises(UserError, match="bitsandbytes cannot run here: None of the available"):
        load_model(dataclasses.replace(TINY, quantize="8bit"))


@bits
def test_text_layers_alone_are_in_fewer_bits(kind: str) -> None:
    model = load_model(dataclasses.replace(TINY, quantize=kind))
    inside = {id(module) for module in text_layers(model).modules()}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            assert (type(module) is nn.Linear) == (id(module) not in inside), name
    assert load_config(TINY).get_text_config().num_hidden_layers == len(text_layers(model))


@bits
def test_gradients_flow_through_fewer_bits_also_after_an_evaluation(kind: str) -> None:
    model = load_model(dataclasses.replace(TINY, quantize=kind))
    ids = torch.tensor([[5, 9, 13, 17]])
    with torch.no_grad():
        model(input_ids=ids)
    module = text_layers(model)[1].mlp.up_proj
    x = torch.randn(2, 3, module.in_features, requires_grad=True)
    signal = torch.randn(2, 3, module.out_features)
    (found,) = torch.autograd.grad(module(x), x, signal)
    with torch.no_grad():
        weight = module(torch.eye(module.in_features))  # [in, out]
    torch.testing.assert_close(found, signal @ weight.T, rtol=0.02, atol=0.05)


@pytest.mark.parametrize(
    ("kind", "adapter"),
    [
        ("8bit", {"route": "lora"}),
        ("4bit", {"route": "lora", "placement": "mixlora-llava"}),
        ("4bit", {"route": "dora"}),
        ("4bit", {"route": "mixlora", "num_experts": 6}),
        ("4bit", {"route": "adem", "down_sample_num": (16, 4)}),
    ],
    ids=["8bit lora", "4bit lora", "4bit dora", "4bit mixlora", "4bit adem"],
)
def test_adapters_learn_and_rows_have_features_on_fewer_bits(
    tmp_path: Path,
    collator: Any,  # noqa: F811
    samples: list[Any],  # noqa: F811
    kind: str,
    adapter: dict[str, Any],
) -> None:
    source = dataclasses.replace(TINY, quantize=kind)
    run(tmp_path, collator, samples, adapter=adapter, source=source)
    log = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[-1] < 0.9 * log[0]
    model = attach(load_model(source), **({"r": 4} | adapter), seed=0)
    features = FeatureExtractor(model, dim=64, grounding=None)(collator(samples))
    norms = torch.linalg.vector_norm(features.gradients, dim=1)
    torch.testing.assert_close(norms, torch.ones(len(samples)), rtol=1e-3, atol=1e-3)
