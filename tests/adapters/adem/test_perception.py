"""What is seen does not depend on padding, batch mates, or how tokens are generated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from adaptinf.adapters.adem import ADD, REPLACE
from adaptinf.adapters.adem.prompt import VisualPrompt
from adaptinf.errors import UserError
from adaptinf.models.backbone import Backbone
from tests.families import FAMILIES, Row

Make = Callable[..., Any]
CASES = [(name, "add") for name in ADD] + [(name, "replace") for name in REPLACE]
LLAVA = [("llava", "add"), ("llava", "replace")]
GREEDY = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
NO_IMAGE = [5]


def prompts(family: str, rows: list[Row]) -> dict[str, Tensor]:
    """The rows without their answers, padded on the left."""
    cut = [Row(r.input_ids[r.labels == -100], r.labels[r.labels == -100], r.pictures) for r in rows]
    batch = FAMILIES[family].batch(cut, "left")
    return {name: value for name, value in batch.items() if name != "labels"}


@pytest.mark.parametrize(("family", "mode"), CASES)
def test_padding_and_batch_mates_change_nothing(
    make: Make, make_rows: Make, logits: Make, family: str, mode: str
) -> None:
    model, rows = make(family, mode), make_rows(family)
    together = {side: FAMILIES[family].batch(rows, side) for side in ("left", "right")}
    results = {side: logits(model, batch) for side, batch in together.items()}
    for i, row in enumerate(rows):
        alone = logits(model, FAMILIES[family].batch([row]))[0]
        told = row.input_ids != 5
        for side, batch in together.items():
            there = results[side][i][batch["attention_mask"][i].bool()]
            torch.testing.assert_close(there[told], alone[told], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("family", "mode"), CASES)
def test_generation_with_and_without_cache_is_the_same(
    make: Make, make_rows: Make, family: str, mode: str
) -> None:
    model, rows = make(family, mode), make_rows(family)
    batch = prompts(family, rows)
    wanted = {"bad_words_ids": [NO_IMAGE], "return_dict_in_generate": True, "output_logits": True}
    cached = model.generate(**batch, **GREEDY, **wanted)
    uncached = model.generate(**batch, **GREEDY, **wanted, use_cache=False)
    assert torch.equal(cached.sequences, uncached.sequences)
    for one, other in zip(cached.logits, uncached.logits, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    for i, row in enumerate(rows):
        alone = model.generate(**prompts(family, [row]), **GREEDY, bad_words_ids=[NO_IMAGE])
        assert torch.equal(alone[0, -6:], cached.sequences[i, -6:])
    with model.disable_adapter():
        plain = model.generate(**batch, **GREEDY, bad_words_ids=[NO_IMAGE])
    assert not torch.equal(plain, cached.sequences)


@pytest.mark.parametrize(("family", "mode"), LLAVA)
def test_beams_share_the_images_of_their_row(
    make: Make, make_rows: Make, family: str, mode: str
) -> None:
    model, rows = make(family, mode), make_rows(family)
    options = {**GREEDY, "bad_words_ids": [NO_IMAGE], "num_beams": 3}
    together = model.generate(**prompts(family, rows), **options)
    for i, row in enumerate(rows):
        alone = model.generate(**prompts(family, [row]), **options)
        assert torch.equal(alone[0, -6:], together[i, -6:])


@pytest.mark.parametrize(("family", "mode"), LLAVA)
def test_keys_and_values_are_made_once_for_a_prompt(
    make: Make, make_rows: Make, monkeypatch: pytest.MonkeyPatch, family: str, mode: str
) -> None:
    model, rows = make(family, mode), make_rows(family)
    calls: list[int] = []
    made = VisualPrompt.shared

    def counted(*args: Any) -> Any:
        calls.append(1)
        return made(*args)

    monkeypatch.setattr(VisualPrompt, "shared", counted)
    projected: list[int] = []
    prompt = next(m for m in model.modules() if isinstance(m, VisualPrompt))
    prompt.phi.register_forward_hook(lambda *_: projected.append(1))
    model(**FAMILIES[family].batch(rows))
    assert (len(calls), len(projected)) == (1, 1)
    model.generate(**prompts(family, rows), **GREEDY, bad_words_ids=[NO_IMAGE])
    assert (len(calls), len(projected)) == (2, 2)


@pytest.mark.parametrize(("family", "mode"), CASES)
def test_rows_of_text_alone_are_as_in_the_base_model(
    make: Make, make_rows: Make, logits: Make, family: str, mode: str
) -> None:
    model, base = make(family, mode), FAMILIES[family].build()
    rows = [row for row in make_rows(family) if not row.pictures]
    batch = FAMILIES[family].batch(rows)
    # Also after a batch with images.
    logits(model, FAMILIES[family].batch(make_rows(family)))
    assert torch.equal(logits(model, batch), logits(base, batch))
    asked = prompts(family, rows)
    assert torch.equal(model.generate(**asked, **GREEDY), base.generate(**asked, **GREEDY))


@pytest.mark.parametrize(("family", "mode"), CASES)
def test_the_backbone_sees_the_same(
    make: Make, make_rows: Make, logits: Make, family: str, mode: str
) -> None:
    """The model without its head, as features are taken."""
    model, batch = make(family, mode), FAMILIES[family].batch(make_rows(family))
    expected = logits(model, batch)
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    with torch.no_grad():
        states = Backbone(model)(inputs)
        result = model.get_base_model().get_output_embeddings()(states)
    if family != "paligemma":
        torch.testing.assert_close(result, expected)
    assert states.shape[:2] == batch["input_ids"].shape


def test_more_text_after_a_cache_sees_the_images_still(
    make: Make, make_rows: Make, logits: Make
) -> None:
    for mode in ("add", "replace"):
        model, row = make("llava", mode), make_rows("llava")[1]
        batch = FAMILIES["llava"].batch([row])
        whole = logits(model, batch)
        cache, parts = DynamicCache(), []
        mask = batch["attention_mask"]
        for start, end in ((0, 20), (20, 22), (22, len(row))):
            part = {"input_ids": batch["input_ids"][:, start:end], "attention_mask": mask[:, :end]}
            if not start:
                part["pixel_values"] = batch["pixel_values"]
            with torch.no_grad():
                parts.append(model(**part, past_key_values=cache).logits)
        told = row.input_ids != 5
        result = torch.cat(parts, 1)[:, told]
        torch.testing.assert_close(result, whole[:, told], rtol=1e-4, atol=1e-4)
        with pytest.raises(UserError, match="no new images after a cache"):
            model(**batch, past_key_values=cache)


def test_what_cannot_be_told_is_refused(make: Make, make_rows: Make, logits: Make) -> None:
    model, rows = make("llava", "add"), make_rows("llava")
    batch = FAMILIES["llava"].batch(rows[1:2])
    cache = DynamicCache()
    with model.disable_adapter(), torch.no_grad():
        model(**batch, past_key_values=cache)
    with pytest.raises(UserError, match="filled elsewhere"):
        model(input_ids=torch.tensor([[7]]), past_key_values=cache)
    with model.disable_adapter(), torch.no_grad():
        encoded = model.model.get_image_features(batch["pixel_values"], return_dict=True)
    text = {name: value for name, value in batch.items() if name != "pixel_values"}
    with pytest.raises(UserError, match="not seen the images"):
        logits(model, {**text, "mm_encoder_outputs": {"image": encoded}})
    # After an error the next batch starts clean.
    assert torch.equal(logits(model, batch), logits(make("llava", "add"), batch))
