from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText

from adaptinf.errors import UserError
from adaptinf.models.parts import (
    bare_model,
    connector,
    fills_rows_with_images,
    image_token_id,
    inner_model,
    layer_index,
    logit_cap,
    output_embeddings,
    text_layers,
    vision_depth,
    vision_layers,
)
from tests.families import FAMILIES

SHIPPED = ["llava", "llava_next", "qwen2_5_vl", "qwen3_vl", "idefics3", "internvl", "gemma3"]
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 99,
}


def build(family, **text):
    """A model of the family, without memory for its weights."""
    config = AutoConfig.for_model(family)
    for key, value in {**TEXT, **text}.items():
        setattr(config.get_text_config(), key, value)
    config.get_text_config().layer_types = ["full_attention"] * 3
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config)


@pytest.mark.parametrize("family", SHIPPED)
def test_parts_are_found_in_every_family(family):
    model = build(family)
    layers = text_layers(model)
    assert len(layers) == 3
    names = {name for name, module in model.named_modules() if module is layers}
    assert len(names) == 1 and "vision" not in names.pop()
    assert output_embeddings(model).weight.shape == (99, 32)
    inner = inner_model(model)
    assert all(head is not output_embeddings(model) for head in inner.modules())
    assert any(module is layers for module in inner.modules())
    assert image_token_id(model) == model.config.image_token_id


def test_an_adapter_hides_nothing():
    model = build("llava")
    layers, head, inner = text_layers(model), output_embeddings(model), inner_model(model)
    wrapped = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    assert bare_model(wrapped) is model
    assert text_layers(wrapped) is layers
    assert output_embeddings(wrapped) is head
    assert inner_model(wrapped) is inner
    assert image_token_id(wrapped) == model.config.image_token_id


@pytest.mark.parametrize(
    ("spec", "count", "number"),
    [
        (0, 3, 0),
        (2, 3, 2),
        ("first", 32, 0),
        ("middle", 32, 16),
        ("middle", 3, 1),
        ("middle", 1, 0),
        ("last", 32, 31),
        (0.0, 4, 0),
        (0.5, 32, 16),
        (0.25, 32, 8),
        (1.0, 32, 31),
    ],
)
def test_layers_are_counted_from_0(spec, count, number):
    assert layer_index(spec, count) == number


@pytest.mark.parametrize("spec", [3, -1, 1.5, -0.5, "mid"])
def test_a_layer_that_is_not_there_is_an_error(spec):
    with pytest.raises(UserError, match="no such layer"):
        layer_index(spec, 3)


def test_an_adapter_on_the_output_embeddings_is_refused():
    wrapped = get_peft_model(build("llava"), LoraConfig(r=2, target_modules=["lm_head"]))
    with pytest.raises(UserError, match="LlavaForConditionalGeneration has no plain linear"):
        output_embeddings(wrapped)


def test_logits_that_are_changed_after_the_head_are_refused():
    model = build("gemma3", final_logit_softcapping=30.0)
    with pytest.raises(UserError, match=r"by final_logit_softcapping \(seen: 30.0\)"):
        output_embeddings(model)


def test_a_cap_is_told_where_the_model_applies_it():
    capped = FAMILIES["paligemma2"].build()
    assert logit_cap(capped) == 2.0
    assert output_embeddings(capped) is capped.lm_head
    assert logit_cap(FAMILIES["paligemma"].build()) is None
    assert logit_cap(FAMILIES["gemma3"].build()) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_families_that_fill_rows_with_images_are_told(family):
    filled = fills_rows_with_images(FAMILIES[family].build())
    assert filled == (family in {"idefics2", "idefics3", "smolvlm"})


def test_what_is_missing_is_named():
    model = build("llava")
    with pytest.raises(UserError, match="LlavaModel has no inner model"):
        inner_model(model.model)
    vars(model.config)["image_token_index"] = None
    with pytest.raises(UserError, match="LlavaForConditionalGeneration has no image_token_id"):
        image_token_id(model)
    model.model.language_model.layers = nn.Linear(1, 1)
    with pytest.raises(UserError, match="no list of text decoder layers"):
        text_layers(model)


@pytest.mark.parametrize(
    ("family", "joining"),
    [
        ("llava", ["multi_modal_projector"]),
        ("qwen2_5_vl", ["merger"]),
        ("qwen3_vl", ["merger", "deepstack_merger_list.0", "deepstack_merger_list.1"]),
        ("idefics2", ["connector"]),
        ("instructblip", ["qformer", "language_projection"]),
    ],
)
def test_connector_is_what_stands_between_vision_and_text(family, joining):
    model = FAMILIES[family].build()
    found = {id(module) for module in connector(model)}
    names = [name for name, module in model.named_modules() if id(module) in found]
    assert [name.removeprefix("model.").removeprefix("visual.") for name in names] == joining


@pytest.mark.parametrize("family", FAMILIES)
def test_vision_layers_are_those_of_the_tower(family):
    model = FAMILIES[family].build()
    blocks = vision_layers(model)
    (name,) = [name for name, module in model.named_modules() if module is blocks]
    assert len(blocks) == 2
    assert "vision" in name or "visual" in name
    # LLaVA and LLaVA-NeXT take the states before their last block.
    assert vision_depth(model) == (1 if family in ("llava", "llava_next") else 2)
