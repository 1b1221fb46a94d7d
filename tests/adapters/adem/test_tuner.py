"""ADEM on tiny models of many families, through PEFT's own doors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import get_peft_model

from adaptinf.adapters.adem import ADD, REPLACE, AdemConfig
from adaptinf.adapters.adem.layer import AdemMlp
from adaptinf.errors import UserError
from tests.families import FAMILIES

Make = Callable[..., Any]
ADDED = [
    "llava",
    "qwen2_5_vl",
    "qwen3_vl",
    "internvl",
    "gemma3",
    "paligemma",
    "paligemma2",
    "idefics3",
    "smolvlm",
]
CASES = [(name, "add") for name in ADDED] + [(name, "replace") for name in REPLACE]
LLAVA = [("llava", "add"), ("llava", "replace")]


def test_every_family_that_is_promised_is_tested() -> None:
    assert {FAMILIES[name].build().config.model_type for name in ADDED} == set(ADD)


@pytest.mark.parametrize(("family", "mode"), CASES)
def test_a_fresh_adapter_trains_its_own_parameters_only(
    make: Make, make_rows: Make, logits: Make, family: str, mode: str
) -> None:
    model = make(family, mode, fresh=True)
    batch = FAMILIES[family].batch(make_rows(family))
    plain = logits(FAMILIES[family].build(), batch)
    assert torch.equal(logits(model, batch), plain) == (mode == "add")
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all("adem_prompt.default" in n or "adem_bottleneck.default" in n for n in trained)
    shared = [n for n in trained if "adem_prompt" in n]
    assert len(shared) == (6 if mode == "add" else 10)
    assert all("layers.0.mlp" in n for n in shared)
    frozen = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    before = {n: p.detach().clone() for n, p in trained.items()}
    optimiser = torch.optim.Adam(trained.values(), lr=0.01)
    # What stands behind a zero has a gradient once that has moved.
    for _ in range(2):
        optimiser.zero_grad()
        model(**batch).loss.backward()
        optimiser.step()
    for name, parameter in trained.items():
        assert parameter.grad.any(), name
        assert not torch.equal(before[name], parameter), name
    assert all(torch.equal(p, model.get_parameter(n)) for n, p in frozen.items())
    assert not torch.equal(logits(model, batch), plain)


@pytest.mark.parametrize(("family", "mode"), CASES)
def test_disabled_it_is_the_base_model(
    make: Make, make_rows: Make, logits: Make, family: str, mode: str
) -> None:
    model, batch = make(family, mode), FAMILIES[family].batch(make_rows(family))
    plain, changed = logits(FAMILIES[family].build(), batch), logits(model, batch)
    assert not torch.allclose(changed, plain, atol=1e-2)
    with model.disable_adapter():
        assert torch.equal(logits(model, batch), plain)
    assert torch.equal(logits(model, batch), changed)


@pytest.mark.parametrize(("family", "mode"), LLAVA)
def test_a_training_step_on_text_alone_moves_nothing(
    make: Make, make_rows: Make, family: str, mode: str
) -> None:
    model = make(family, mode).train()
    rows = [row for row in make_rows(family) if not row.pictures]
    loss = model(**FAMILIES[family].batch(rows)).loss
    with torch.no_grad():
        assert torch.equal(loss, FAMILIES[family].build()(**FAMILIES[family].batch(rows)).loss)
    loss.backward()
    for parameter in model.parameters():
        assert parameter.requires_grad == (parameter.grad is not None)
        assert parameter.grad is None or not parameter.grad.any()


@pytest.mark.parametrize("mode", ["add", "replace"])
def test_families_that_it_is_not_for_are_refused_by_name(mode: str) -> None:
    known = ADD if mode == "add" else REPLACE
    for family in FAMILIES.values():
        model = family.build()
        kind = model.config.model_type
        if kind in known:
            continue
        hint = "choose mode add" if kind in ADD else "choose another route"
        with pytest.raises(UserError, match=rf"{mode} is not for {type(model).__name__}.*{hint}"):
            get_peft_model(model, AdemConfig(mode=mode))


def test_bottlenecks_are_in_the_blocks_that_are_read(make: Make) -> None:
    """LLaVA reads the vision tower's last block but one."""
    names = [
        n for n, _ in make("llava", "replace").named_modules() if n.endswith("adem_bottleneck")
    ]
    assert names == ["base_model.model.model.vision_tower.encoder.layers.0.mlp.adem_bottleneck"]
    assert not any(
        "bottleneck" in n for n, _ in make("llava", "add", adapter_dim=0).named_modules()
    )
    assert (AdemConfig(mode="add").adapter_dim, AdemConfig(mode="replace").adapter_dim) == (0, 12)


def test_named_adapters_switch_and_are_deleted(make: Make, make_rows: Make, logits: Make) -> None:
    model, batch = make("llava", "add"), FAMILIES["llava"].batch(make_rows("llava"))
    first = logits(model, batch)
    torch.manual_seed(5)
    model.add_adapter("other", AdemConfig(mode="replace", down_sample_num=[9], hidden_proj=4))
    assert torch.equal(logits(model, batch), first)
    assert not any(p.requires_grad for n, p in model.named_parameters() if ".other." in n)
    model.set_adapter("other")
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (".other." in name), name
    other = logits(model, batch)
    assert not torch.allclose(other, first, atol=1e-2)
    model.set_adapter("default")
    assert torch.equal(logits(model, batch), first)
    model.base_model.set_adapter(["default", "other"])
    with pytest.raises(UserError, match=r"one ADEM adapter.*default, other"):
        logits(model, batch)
    model.set_adapter("default")
    model.delete_adapter("other")
    assert torch.equal(logits(model, batch), first)
    assert not any(".other." in name for name in model.state_dict())


def test_merging_is_refused_and_unloading_gives_the_base_back(
    make: Make, make_rows: Make, logits: Make
) -> None:
    model, batch = make("llava", "replace"), FAMILIES["llava"].batch(make_rows("llava"))
    before = logits(model, batch)
    for merge in (model.merge_and_unload, model.merge_adapter, model.unmerge_adapter):
        with pytest.raises(UserError, match=r"cannot be merged.*depends on the image"):
            merge()
    assert torch.equal(logits(model, batch), before)
    plain, base = model.unload(), FAMILIES["llava"].build()
    assert torch.equal(logits(plain, batch), logits(base, batch))
    assert plain.state_dict().keys() == base.state_dict().keys()
    hooks = [
        [len(m._forward_pre_hooks | m._forward_hooks) for m in x.modules()] for x in (plain, base)
    ]
    assert hooks[0] == hooks[1]


@pytest.mark.parametrize(("family", "mode"), LLAVA)
def test_dropout_is_off_in_evaluation_only(
    make: Make, make_rows: Make, logits: Make, family: str, mode: str
) -> None:
    model = make(family, mode, dropout=0.9)
    batch = FAMILIES[family].batch(make_rows(family))
    quiet = logits(model, batch)
    assert torch.equal(logits(model, batch), quiet)
    torch.manual_seed(0)
    assert not torch.allclose(logits(model.train(), batch), quiet, atol=1e-3)
    assert torch.equal(logits(model.eval(), batch), quiet)


@pytest.mark.parametrize(("family", "mode"), [*LLAVA, ("qwen2_5_vl", "replace"), ("gemma3", "add")])
def test_gradient_checkpointing_gives_the_same_gradients(
    make: Make, make_rows: Make, family: str, mode: str
) -> None:
    rows = make_rows(family)
    batches = [FAMILIES[family].batch(part) for part in (rows[:2], rows[2:])]
    gradients = []
    for checkpointed in (False, True):
        model = make(family, mode, dropout=0.0).train()
        if checkpointed:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        # Both before the first backward pass, so that each must find its own images again.
        losses = [model(**batch).loss for batch in batches]
        for loss in losses:
            loss.backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    for name, gradient in gradients[0].items():
        assert gradient.any()
        torch.testing.assert_close(gradients[1][name], gradient)


@pytest.mark.parametrize(("family", "mode"), LLAVA)
def test_half_precision_base_with_a_float32_adapter(
    make_rows: Make, logits: Make, family: str, mode: str
) -> None:
    batch = FAMILIES[family].batch(make_rows(family))
    batch["pixel_values"] = batch["pixel_values"].bfloat16()
    base = FAMILIES[family].build().bfloat16()
    plain = logits(base, batch)
    model = get_peft_model(base, AdemConfig(mode=mode, down_sample_num=[4])).eval()
    assert torch.equal(logits(model, batch), plain) == (mode == "add")
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    output = model(**batch)
    assert output.logits.dtype == torch.bfloat16
    output.loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_other_modules_are_refused_by_name(make: Make) -> None:
    with pytest.raises(UserError, match=r"feed-forward modules.*q_proj"):
        make("llava", "add", target_modules=r".*language_model.*q_proj")


def test_layers_can_be_chosen_and_share_what_the_first_of_them_holds(
    make: Make, make_rows: Make, logits: Make
) -> None:
    model = make("llava", "add", target_modules=r".*language_model\.layers\.(1|2)\.mlp")
    layers = [m for m in model.modules() if isinstance(m, AdemMlp)]
    assert [len(layer.adem_prompt) for layer in layers] == [1, 0]
    batch = FAMILIES["llava"].batch(make_rows("llava"))
    assert not torch.allclose(
        logits(model, batch), logits(FAMILIES["llava"].build(), batch), atol=1e-2
    )
