from __future__ import annotations

import re

import pytest
from torch import nn

from adaptinf.adapters import attach, learning_rates
from adaptinf.adapters.placement import find_targets
from adaptinf.adapters.presets import placements
from adaptinf.errors import UserError
from adaptinf.routes import LAYERS, PLACEMENTS, Placement
from tests.families import FAMILIES

LLAVA, QWEN = FAMILIES["llava"], FAMILIES["qwen2_5_vl"]


def matched(model: nn.Module, *places: Placement) -> set[str]:
    pattern = find_targets(model, places).pattern
    return {name for name, _ in model.named_modules() if re.fullmatch(pattern, name)}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", [name for name in PLACEMENTS if name != "full"])
def test_a_pattern_fits_what_was_found_also_with_an_adapter_on(family: str, name: str) -> None:
    model = FAMILIES[family].build()
    places = placements(model, name)
    targets = find_targets(model, places)
    names = {n for n, _ in model.named_modules() if re.fullmatch(targets.pattern, n)}
    adapted = attach(model, placement=name)
    layers = {n for n, m in adapted.get_base_model().named_modules() if hasattr(m, "lora_A")}
    assert layers == names
    assert find_targets(adapted, places) == targets


def test_parts_leaves_and_layers_choose_modules() -> None:
    model = LLAVA.build()
    text = "model.language_model.layers"
    assert matched(model, Placement("text", ["q", "down"], "0-1")) == {
        f"{text}.0.self_attn.q_proj",
        f"{text}.0.mlp.down_proj",
        f"{text}.1.self_attn.q_proj",
        f"{text}.1.mlp.down_proj",
    }
    # 0.64 of 3 layers is 1.92; 0.1 of them is at least one.
    upper = matched(model, Placement("text", "k_proj", "upper:0.64"))
    assert upper == {f"{text}.1.self_attn.k_proj", f"{text}.2.self_attn.k_proj"}
    lower = matched(model, Placement("text", "self_attn.v_proj", "lower:0.1"))
    assert lower == {f"{text}.0.self_attn.v_proj"}
    joining = matched(model, Placement("connector", "linear_2"))
    assert joining == {"model.multi_modal_projector.linear_2"}


def test_fused_queries_keys_and_values_are_taken_whole_and_once() -> None:
    blocks = "model.visual.blocks"
    found = matched(QWEN.build(), Placement("vision", ["q", "v", "o"]))
    assert found == {f"{blocks}.{i}.attn.{leaf}" for i in (0, 1) for leaf in ("qkv", "proj")}


def test_entries_have_ranks_scales_and_rates_of_their_own() -> None:
    options = {
        "r": 4,
        "alpha": 8,
        "placement": (
            Placement("vision", ["q"], r=2, alpha=6, learning_rate=1e-5),
            Placement("text", ["q"], "0-0", r=3),
            Placement("text", ["q"], "1-2"),
            Placement("connector", r="full", learning_rate=2e-5),
        ),
    }
    model = attach(LLAVA.build(), **options)
    seen = {
        name: (module.r["default"], module.scaling["default"])
        for name, module in model.get_base_model().named_modules()
        if hasattr(module, "lora_A")
    }
    text = "model.language_model.layers.{}.self_attn.q_proj"
    assert seen == {
        # LLaVA takes the states before its last block, which is the second.
        "model.vision_tower.encoder.layers.0.self_attn.q_proj": (2, 6 / 2),
        text.format(0): (3, 8 / 3),
        text.format(1): (4, 8 / 4),
        text.format(2): (4, 8 / 4),
    }
    rates = learning_rates(model, **options)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert rates == {
        name: 1e-5 if "vision_tower" in name else 2e-5
        for name in trained
        if "vision_tower" in name or "modules_to_save" in name
    }
    assert sorted(rates.values()) == [1e-5] * 2 + [2e-5] * 4


@pytest.mark.parametrize(
    ("places", "told"),
    [
        (
            [Placement("text", ["query"])],
            r"no linear module of the text.*there are: mlp\.down_proj",
        ),
        ([Placement("connector", ["q"])], r"of the connector.*there are: .*linear_1"),
        ([Placement("txt")], "unknown part.*did you mean 'text'"),
        ([Placement("text", layers="1-3")], "no such layers.*1-3.*give 0-2"),
        ([Placement("text", layers="2-1")], "no such layers"),
        ([Placement("text", layers="some")], "not a choice of layers"),
        ([Placement("connector", layers="0-1")], "has no layers"),
        ([Placement("text", ["q"], r="full")], "layers are trained themselves as a whole"),
        ([Placement("text", r="full")], "no entry puts an adapter"),
        ([Placement("connector", r="full")], "no entry puts an adapter"),
        ([Placement("text"), Placement("text", ["q"])], "two entries"),
        ([Placement("connector"), Placement("connector", r="full")], "two entries"),
        ("conlor", "unknown placement.*did you mean 'conlora'"),
    ],
)
def test_a_placement_that_cannot_be_is_refused(places: object, told: str) -> None:
    with pytest.raises(UserError, match=told):
        attach(LLAVA.build(), placement=places)


def test_layers_can_be_trained_themselves_beside_an_adapter() -> None:
    places = (
        Placement("text", ["q"], "0-1"),
        Placement("text", layers="2-2", r="full", learning_rate=1e-5),
    )
    model = attach(LLAVA.build(), placement=places)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    last = "base_model.model.model.language_model.layers.2."
    copied = {n for n in trained if n.startswith(f"{last}modules_to_save.default.")}
    assert len(copied) == len(list(LLAVA.build().model.language_model.layers[2].parameters()))
    assert trained - copied == {n for n in trained if ".lora_" in n and last not in n}
    assert learning_rates(model, placement=places) == dict.fromkeys(copied, 1e-5)


def test_full_tuning_can_be_of_some_layers_and_takes_no_kinds() -> None:
    model = attach(LLAVA.build(), "full", placement=[Placement("text", layers="upper:0.5")])
    layers = {n.split("layers.")[1][0] for n, p in model.named_parameters() if p.requires_grad}
    assert layers == {"1", "2"}
    with pytest.raises(UserError, match="as a whole"):
        attach(LLAVA.build(), "full", placement="conlora")


def test_adem_has_a_place_of_its_own() -> None:
    with pytest.raises(UserError, match="place of its own"):
        attach(LLAVA.build(), "adem", placement="text")
    model = attach(LLAVA.build(), "adem", placement=[Placement("connector", r="full")])
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {"adem_" in name or "multi_modal_projector" in name for name in trained} == {True}
    assert any("multi_modal_projector.modules_to_save" in name for name in trained)


@pytest.mark.parametrize("place", [Placement("vision"), Placement("text", r=4)])
def test_mixlora_is_for_text_and_has_one_rank(place: Placement) -> None:
    with pytest.raises(UserError, match="one rank and alpha"):
        attach(LLAVA.build(), "mixlora", r=4, placement=[place])


def test_published_recipes_are_as_they_were_published() -> None:
    model = FAMILIES["instructblip"].build()
    vision, joining, text = placements(model, "conlora")
    assert (vision.layers, vision.r, vision.alpha) == ("upper:0.64", 16, 16)
    assert (joining.leaves, joining.r, joining.alpha) == (("q", "v"), 16, 16)
    assert (text.leaves, text.layers, text.r, text.alpha) == (("q", "v"), "all", 8, 32)
    assert placements(model, "conlora-body")[2].layers == "lower:0.69"
    # The authors' blocks 14 to 38 of 39 and layers 0 to 21 of 32.
    assert round(0.64 * 39) == 39 - 14
    assert round(0.69 * 32) == 22
    assert all(re.fullmatch(LAYERS, place.layers) for place in (vision, joining, text))
    text, projector = placements(LLAVA.build(), "dora-llava")
    assert (text.r, text.alpha, projector.r, projector.learning_rate) == (128, 256, "full", 2e-5)
