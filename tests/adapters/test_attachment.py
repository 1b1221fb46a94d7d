from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from adaptinf.adapters import attach
from adaptinf.adapters.attachment import load_adapter
from adaptinf.errors import UserError
from adaptinf.models.loading import ModelSource, load_model
from adaptinf.training.trainer import save_adapter

BATCH = {"input_ids": torch.tensor([[5, 9, 13, 17, 21]])}


def tiny() -> torch.nn.Module:
    return load_model(ModelSource("tiny"))


@torch.no_grad()
def logits(model: torch.nn.Module) -> torch.Tensor:
    return model(**BATCH).logits


def test_fresh_adapter_is_the_identity_and_repeats_by_seed() -> None:
    plain = logits(tiny())
    one, other = attach(tiny(), seed=3), attach(tiny(), seed=3)
    assert torch.equal(logits(one.eval()), plain)
    for (name, a), (_, b) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    first = next(p for n, p in attach(tiny(), seed=4).named_parameters() if "lora_A" in n)
    assert not torch.equal(first, next(p for n, p in one.named_parameters() if "lora_A" in n))


def test_attaching_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    attach(tiny(), seed=1)
    assert torch.equal(torch.rand(1), expected)


def test_only_linears_of_the_text_layers_are_trained() -> None:
    model = attach(tiny(), r=4)
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    # 4 layers, 7 linear modules each, two factors.
    assert len(trained) == 4 * 7 * 2
    assert all("language_model.layers" in name and "lora_" in name for name in trained)
    shapes = {tuple(p.shape) for n, p in model.named_parameters() if "lora_A" in n}
    assert {shape[0] for shape in shapes} == {4}


def test_unknown_route_names_what_there_is() -> None:
    with pytest.raises(UserError, match=r"unknown adapter route.*mixlora"):
        attach(tiny(), route="xyz")


def changed_adapter(folder: Path) -> torch.Tensor:
    """Save an adapter whose B factors are not zero; returns its logits."""
    model = attach(tiny(), r=4, seed=0).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    expected = logits(model)
    save_adapter(model, folder, "tiny")
    return expected


def test_saved_adapter_loads_bit_equal_here_and_with_stock_peft(tmp_path: Path) -> None:
    expected = changed_adapter(tmp_path)
    assert not torch.equal(expected, logits(tiny()))
    assert torch.equal(logits(load_adapter(tiny(), tmp_path).eval()), expected)
    assert torch.equal(logits(PeftModel.from_pretrained(tiny(), str(tmp_path))), expected)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny"
    assert config["peft_type"] == "LORA"


def test_adapter_with_a_missing_tensor_is_refused(tmp_path: Path) -> None:
    changed_adapter(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    tensors.pop(next(iter(tensors)))
    save_file(tensors, file)
    with pytest.raises(UserError, match="1 tensors missing, 0 unexpected"):
        load_adapter(tiny(), tmp_path)
