"""Saved in PEFT's format: another process loads the same bits, once it has our import."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.utils import PeftType
from safetensors.torch import load_file, save_file

from adaptinf.adapters.attachment import load_adapter
from adaptinf.adapters.mixlora import MixLoraConfig, MixLoraModel
from adaptinf.adapters.registration import register

Make = Callable[..., Any]

ELSEWHERE = """
import sys, warnings
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import LlavaForConditionalGeneration

# Missing keys are a warning of PEFT.
warnings.simplefilter("error", UserWarning)
folder = sys.argv[1]
base = LlavaForConditionalGeneration.from_pretrained(folder + "/base")
try:
    PeftModel.from_pretrained(base, folder + "/learned")
    raise SystemExit("stock PEFT should not know the type")
except KeyError as error:
    print(error)
import adaptinf.adapters.mixlora
batch = load_file(folder + "/batch.safetensors")
model = PeftModel.from_pretrained(base, folder + "/learned", "learned").eval()
result = model.load_adapter(folder + "/frozen", "frozen")
assert not result.unexpected_keys and not [k for k in result.missing_keys if "mixlora" in k], result
outputs = {}
with torch.no_grad():
    for name in ("learned", "frozen"):
        model.set_adapter(name)
        outputs[name] = model(**batch).logits
save_file(outputs, folder + "/outputs.safetensors")
"""


def test_another_process_loads_the_same_bits(
    make_adapted: Make, make_base: Make, collate: Make, rows: list[Any], tmp_path: Path
) -> None:
    batch = collate(rows)
    save_file(batch, tmp_path / "batch.safetensors")
    make_base().save_pretrained(tmp_path / "base")
    expected = {}
    for name, kind in (("learned", "input_lora_a_param"), ("frozen", "input")):
        model = make_adapted(routers=name, routing=kind)
        with torch.no_grad():
            expected[name] = model(**batch).logits
        model.save_pretrained(tmp_path / name, save_embedding_layers=False)
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "'MIXLORA'"
    outputs = load_file(tmp_path / "outputs.safetensors")
    for name, logits in expected.items():
        assert torch.equal(outputs[name], logits), name


def test_the_folder_is_in_pefts_format(make_adapted: Make, make_base: Make, tmp_path: Path) -> None:
    model = make_adapted(routing="input_lora_a_param", routers="frozen")
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["peft_type"] == "MIXLORA"
    assert config["load_with"] == "import adaptinf.adapters.mixlora"
    assert (config["num_experts"], config["rank"], config["alpha"]) == (6, 2, 12.0)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    assert len(tensors) == 14 * 5
    place = "base_model.model.model.language_model.layers.1.mlp.down_proj.mixlora_factors."
    shapes = {k.removeprefix(place): list(v.shape) for k, v in tensors.items() if place in k}
    assert shapes == {
        "pool_a": [6, 48],
        "pool_b": [6, 32],
        "router_a": [6, 48],
        "router_b": [6, 48],
        "router_ab": [2, 6, 48],
    }
    # The check of this project: every tensor finds its place.
    loaded = load_adapter(make_base(), tmp_path)
    assert not any(p.requires_grad for p in loaded.parameters())
    assert all(p.requires_grad for p in trained_again(make_base(), tmp_path))


def trained_again(base: Any, folder: Path) -> list[torch.nn.Parameter]:
    model = load_adapter(base, folder, trainable=True)
    return [p for n, p in model.named_parameters() if "mixlora_" in n]


def test_registering_twice_is_no_mistake_but_another_name_is_known_too() -> None:
    register("mixlora", MixLoraConfig, MixLoraModel)
    assert list(PeftType).count(PeftType("MIXLORA")) == 1
    assert PeftType.MIXLORA is PeftType("MIXLORA")
    assert PeftType.MIXLORA.name == PeftType.MIXLORA.value == "MIXLORA"
    with pytest.raises(ValueError, match="NOTHING"):
        PeftType("NOTHING")
