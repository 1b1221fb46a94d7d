"""Adapters taken elsewhere: merged models, plain LoRA, and what is told of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn

from adaptinf.adapters import attach, load_adapter, merge
from adaptinf.adapters.inspection import inspect_adapter
from adaptinf.errors import UserError
from adaptinf.models.loading import ModelSource, load_model, load_processor
from adaptinf.training.trainer import save_adapter
from stages.exports import _selected, base_size, described, export_lora, merge_adapter

BATCH = {"input_ids": torch.tensor([[5, 9, 13, 17, 21]])}


@torch.no_grad()
def logits(model: nn.Module) -> Tensor:
    return model(**BATCH).logits


def tiny() -> Any:
    return load_model(ModelSource("tiny"))


def saved(run: Path, step: str, base: Any, merged: tuple[str, ...] = (), **options: Any) -> Path:
    """The folder of a step's adapter, none of whose parameters is zero."""
    model = attach(base, **{"r": 4, "dropout": 0.0, **options})
    generator = torch.Generator().manual_seed(len(step))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(0.05 * noise.to(parameter))
    folder = run / "steps" / step / "train" / "adapter"
    save_adapter(model, folder, "tiny")
    told = {"step": step, "continues": None, "merged": list(merged), "rows": 7, "average": "none"}
    (folder / "lineage.json").write_text(json.dumps(told))
    return folder


@pytest.mark.parametrize(
    "options",
    [{}, {"route": "dora", "placement": "dora-llava"}, {"route": "conlora"}, {"route": "full"}],
    ids=["lora", "dora with connector", "conlora", "full"],
)
def test_a_merged_model_answers_as_the_adapter_does(tmp_path: Path, options: dict) -> None:
    folder = saved(tmp_path, "1-shop", tiny(), **options)
    expected = logits(load_adapter(tiny(), folder).eval())
    merge_adapter(folder, tmp_path / "model")
    source = ModelSource(str(tmp_path / "model"))
    torch.testing.assert_close(logits(load_model(source)), expected, rtol=1e-3, atol=1e-3)
    assert (logits(tiny()) - expected).abs().max() > 0.05
    assert load_processor(source).chat_template == load_processor(ModelSource("tiny")).chat_template
    assert not list(tmp_path.glob("*.tmp"))


def test_adapters_of_earlier_steps_are_merged_below(tmp_path: Path) -> None:
    first = saved(tmp_path, "1-shop", tiny())
    below = merge(load_adapter(tiny(), first))
    second = saved(tmp_path, "2-invoices", below, merged=("1-shop",))
    expected = logits(load_adapter(merge(load_adapter(tiny(), first)), second).eval())
    merge_adapter(second, tmp_path / "model", dtype="float32")
    model = load_model(ModelSource(str(tmp_path / "model")))
    torch.testing.assert_close(logits(model), expected, rtol=1e-4, atol=1e-5)
    first.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="merged below this one is not there"):
        merge_adapter(second, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("route", ["mixlora", "adem"])
def test_what_depends_on_the_row_is_not_merged(tmp_path: Path, route: str) -> None:
    options = {"r": 2, "num_experts": 4} if route == "mixlora" else {"down_sample_num": (4, 1)}
    folder = saved(tmp_path, "1-shop", tiny(), route=route, **options)
    with pytest.raises(UserError, match=f"route {route} cannot be merged"):
        merge_adapter(folder, tmp_path / "model")


def test_dora_of_full_rank_is_exact_and_of_less_as_far_off_as_told(tmp_path: Path) -> None:
    folder = saved(tmp_path, "1-shop", tiny(), route="dora")
    expected, plain = logits(load_adapter(tiny(), folder).eval()), logits(tiny())
    errors, apart = [], []
    for rank in (2, 8, 10_000):
        out = tmp_path / str(rank)
        errors.append(export_lora(folder, out, rank=rank))
        model = PeftModel.from_pretrained(tiny(), str(out)).eval()
        assert json.loads((out / "adapter_config.json").read_text())["use_dora"] is False
        apart.append(float((logits(model) - expected).norm() / (plain - expected).norm()))
    assert errors[0] > errors[1] > 0.01
    assert errors[2] < 1e-6
    assert apart[0] > apart[1] > 0.01
    assert apart[2] < 1e-4


def test_plain_lora_is_exported_as_it_is_and_others_are_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path, "1-shop", tiny())
    assert export_lora(folder, tmp_path / "out") is None
    weights = "adapter_model.safetensors"
    assert (tmp_path / "out" / weights).read_bytes() == (folder / weights).read_bytes()
    with pytest.raises(UserError, match="already there"):
        export_lora(folder, tmp_path / "out")
    full = saved(tmp_path, "2-invoices", tiny(), route="full")
    with pytest.raises(UserError, match=r"cannot be written as LoRA.*merge it"):
        export_lora(full, tmp_path / "full")
    mixture = saved(tmp_path, "3-maps", tiny(), route="mixlora", r=2, num_experts=4)
    with pytest.raises(UserError, match=r"rows that its step has selected.*config.resolved"):
        export_lora(mixture, tmp_path / "mixture")
    assert not (tmp_path / "mixture").exists()


def test_the_rows_of_a_step_are_found_in_its_run(undisturbed: Path) -> None:
    batches = list(_selected(undisturbed / "steps" / "2-mantis" / "train" / "adapter"))
    assert [len(batch["labels"]) for batch in batches] == [8, 4]
    assert all("pixel_values" in batch for batch in batches)


def test_an_inspection_counts_by_part(tmp_path: Path) -> None:
    folder = saved(tmp_path, "1-shop", tiny(), placement="dora-llava", route="dora")
    found = inspect_adapter(folder)
    model = load_adapter(tiny(), folder, trainable=True)
    trained = {n: p.numel() for n, p in model.named_parameters() if p.requires_grad}
    assert found.parameters == sum(trained.values())
    shares = {share.part: share for share in found.shares}
    joining = sum(count for name, count in trained.items() if "projector" in name)
    assert (shares["connector"].parameters, shares["connector"].flops) == (joining, 0)
    beside = sum(count for n, count in trained.items() if "lora_A" in n or "lora_B" in n)
    assert shares["text"].flops == 2 * beside
    size = sum(parameter.numel() for parameter in tiny().parameters())
    assert base_size("tiny") == size
    lines = described(found, size)
    assert lines.startswith("route: dora\nbase: tiny")
    assert f"{found.parameters:,}" in lines
    assert json.loads(described(found, size, as_json=True))["lineage"]["rows"] == 7


@pytest.mark.parametrize(
    ("options", "route"),
    [
        ({}, "lora"),
        ({"route": "full"}, "full"),
        ({"route": "mixlora", "r": 2, "num_experts": 8}, "mixlora"),
        ({"route": "adem", "down_sample_num": (4, 1), "mode": "replace"}, "adem"),
    ],
    ids=["lora", "full", "mixlora", "adem"],
)
def test_every_route_is_recognised(tmp_path: Path, options: dict, route: str) -> None:
    found = inspect_adapter(saved(tmp_path, "1-shop", tiny(), **options))
    assert found.route == route
    if route == "mixlora":
        # Of 8 factors a row uses 2.
        (text,) = (share for share in found.shares if share.part == "text")
        assert 0 < text.flops < 2 * text.parameters


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no adapter_config.json here"):
        inspect_adapter(tmp_path)
    folder = saved(tmp_path, "1-shop", tiny())
    (folder / "adapter_model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match="cannot be read"):
        inspect_adapter(folder)
