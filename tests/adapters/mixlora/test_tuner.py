"""MixLoRA on a tiny LLaVA, through PEFT's own doors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from adaptinf.adapters.mixlora import MixLoraConfig
from adaptinf.adapters.mixlora.layer import MixLoraLinear
from adaptinf.errors import UserError

Make = Callable[..., Any]
KINDS = [
    {"routing": routing, "routers": routers}
    for routing in ("input", "input_lora_a_param")
    for routers in ("learned", "frozen")
]


@torch.no_grad()
def logits(model: Any, batch: dict[str, Tensor]) -> Tensor:
    return model(**batch).logits


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_adapter_changes_nothing_and_all_its_parameters_train(
    make_adapted: Make, make_base: Make, collate: Make, rows: list[Any], kind: dict[str, str]
) -> None:
    model, batch = make_adapted(fresh=True, **kind), collate(rows, labels=True)
    assert torch.equal(logits(model, batch), logits(make_base(), batch))
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    learned = kind["routers"] == "learned"
    conditional = kind["routing"] == "input_lora_a_param"
    # 2 layers of 7 linear modules.
    assert len(trained) == 2 * 7 * (2 + learned * (2 + conditional))
    assert all("language_model.layers" in n and "mixlora_factors.default" in n for n in trained)
    frozen = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    frozen |= {n: b.clone() for n, b in model.named_buffers()}
    before = {n: p.detach().clone() for n, p in trained.items()}
    optimiser = torch.optim.SGD(trained.values(), lr=1.0)
    # While B is zero only B has a gradient.
    for step in range(2):
        optimiser.zero_grad()
        model(**batch).loss.backward()
        for name, parameter in trained.items():
            assert parameter.grad is not None
            assert parameter.grad.any() == (step == 1 or "pool_b" in name), name
        optimiser.step()
    assert all(not torch.equal(before[n], p) for n, p in trained.items())
    now = dict(model.named_parameters()) | dict(model.named_buffers())
    assert all(torch.equal(value, now[name]) for name, value in frozen.items())


def test_disabled_it_is_the_base_model(
    make_adapted: Make, make_base: Make, collate: Make, rows: list[Any]
) -> None:
    model, batch = make_adapted(), collate(rows)
    plain = logits(make_base(), batch)
    changed = logits(model, batch)
    assert not torch.allclose(changed, plain, atol=1e-2)
    with model.disable_adapter():
        assert torch.equal(logits(model, batch), plain)
    assert torch.equal(logits(model, batch), changed)


def test_named_adapters_switch_and_are_deleted(
    make_adapted: Make, collate: Make, rows: list[Any]
) -> None:
    model, batch = make_adapted(), collate(rows)
    first = logits(model, batch)
    other = MixLoraConfig(
        target_modules=r".*language_model\.layers\.1\.mlp\.\w+_proj", num_experts=4, rank=3
    )
    model.add_adapter("other", other)
    assert torch.equal(logits(model, batch), first)
    assert not any(p.requires_grad for n, p in model.named_parameters() if ".other." in n)
    model.set_adapter("other")
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (".other." in name), name
    with model.disable_adapter():
        plain = logits(model, batch)
    # Its B factors are zero still.
    assert torch.equal(logits(model, batch), plain)
    model.set_adapter("default")
    assert torch.equal(logits(model, batch), first)
    model.delete_adapter("other")
    assert torch.equal(logits(model, batch), first)
    assert not any(".other." in name for name in model.state_dict())


def test_merging_is_refused_and_unloading_gives_the_base_back(
    make_adapted: Make, make_base: Make, collate: Make, rows: list[Any]
) -> None:
    model, batch = make_adapted(), collate(rows)
    before = logits(model, batch)
    for merge in (model.merge_and_unload, model.merge_adapter, model.unmerge_adapter):
        with pytest.raises(UserError, match=r"cannot be merged.*freeze_route"):
            merge()
    layer = next(m for m in model.modules() if isinstance(m, MixLoraLinear))
    with pytest.raises(UserError, match="cannot be merged"):
        layer.merge()
    assert torch.equal(logits(model, batch), before)
    plain = model.unload()
    assert torch.equal(logits(plain, batch), logits(make_base(), batch))
    assert not any(m._forward_pre_hooks for m in plain.modules())
    assert plain.state_dict().keys() == make_base().state_dict().keys()


def test_a_module_outside_of_the_text_is_refused_by_name(
    make_adapted: Make, collate: Make, rows: list[Any]
) -> None:
    model = make_adapted(target_modules=r".*vision_tower.*q_proj")
    with pytest.raises(UserError, match=r"vision_tower.*q_proj sees none.*\[3, 17, 24\]"):
        logits(model, collate(rows))
    with pytest.raises(UserError, match=r"linear modules.*Embedding"):
        make_adapted(target_modules=r".*embed_tokens")


def test_rows_laid_one_after_the_other_are_told_apart(
    make_adapted: Make, collate: Make, rows: list[Any]
) -> None:
    """As OPT calls its feed-forward layers."""
    model, batch = make_adapted(), collate(rows)
    expected = logits(model, batch)
    for layer in model.modules():
        if isinstance(layer, MixLoraLinear):
            forward = layer.forward

            def flat(x: Tensor, forward: Any = forward) -> Tensor:
                return forward(x.flatten(0, 1)).unflatten(0, x.shape[:2])

            layer.forward = flat
    torch.testing.assert_close(logits(model, batch), expected)


@pytest.mark.parametrize("routers", ["learned", "frozen"])
def test_half_precision_base_with_a_float32_adapter(
    make_adapted: Make, make_base: Make, collate: Make, rows: list[Any], routers: str
) -> None:
    batch = collate(rows, labels=True)
    batch["pixel_values"] = batch["pixel_values"].bfloat16()
    fresh = make_adapted(fresh=True, dtype=torch.bfloat16, routers=routers)
    assert torch.equal(logits(fresh, batch), logits(make_base(torch.bfloat16), batch))
    model = make_adapted(dtype=torch.bfloat16, routers=routers, routing="input_lora_a_param")
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    output = model(**batch)
    assert output.logits.dtype == torch.bfloat16
    output.loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_autocast_leaves_the_choice_in_float32(
    make_adapted: Make, collate: Make, rows: list[Any]
) -> None:
    model, batch = make_adapted(), collate(rows, labels=True)
    seen: list[torch.dtype] = []
    layer = next(m for m in model.modules() if isinstance(m, MixLoraLinear))
    mixture = layer.mixlora_factors["default"]
    ranked = mixture._ranked

    def listening(mean: Tensor, kept: Any) -> Any:
        choice, scores = ranked(mean, kept)
        seen.extend([mean.dtype, scores.a.dtype, scores.b.dtype])
        return choice, scores

    mixture._ranked = listening
    with torch.autocast("cpu", torch.bfloat16):
        model(**batch).loss.backward()
    assert set(seen) == {torch.float32}
    assert mixture.router_a.grad.any()


def test_it_is_a_peft_model(make_adapted: Make) -> None:
    model = make_adapted()
    assert isinstance(model, PeftModel)
    assert model.peft_config["default"].peft_type.value == "MIXLORA"
    assert len(model.targeted_module_names) == 14
