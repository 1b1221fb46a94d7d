"""Mode replace: fewer tokens in the decoder, all of them outside of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from adaptinf.adapters.adem import REPLACE
from adaptinf.adapters.adem.prompt import VisualPrompt
from adaptinf.errors import UserError
from tests.families import FAMILIES

Make = Callable[..., Any]
IMAGE = 5


def lengths(model: Any, batch: dict[str, Tensor]) -> list[int]:
    """Tokens that each text layer is given."""
    seen: list[int] = []
    layers = model.get_base_model().get_decoder().layers
    handles = [
        layer.register_forward_pre_hook(lambda _, a: seen.append(a[0].shape[1])) for layer in layers
    ]
    with torch.no_grad():
        model(**batch)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("family", REPLACE)
def test_image_tokens_leave_the_sequence_but_for_one_of_each(
    make: Make, make_rows: Make, family: str
) -> None:
    model = make(family, "replace")
    for row in make_rows(family):
        batch = FAMILIES[family].batch([row])
        images = int((row.input_ids == IMAGE).sum())
        # InternVL's tiles are images of their own.
        tiles = (
            len(batch["pixel_values"])
            if family == "internvl" and row.pictures
            else len(row.pictures)
        )
        assert lengths(model, batch) == [len(row) - images + tiles] * 3
        with model.disable_adapter():
            assert lengths(model, batch) == [len(row)] * 3
    batch = FAMILIES[family].batch(make_rows(family), "left")
    assert model(**batch).logits.shape[:2] == batch["input_ids"].shape


def test_the_sequence_is_text_with_one_token_in_the_place_of_an_image(
    make: Make, make_rows: Make, logits: Make
) -> None:
    """Without attention: the decoder alone, on embeddings laid out by hand."""
    model = make("llava", "replace", alpha=0.0)
    base = FAMILIES["llava"].build()
    prompt = next(m for m in model.modules() if isinstance(m, VisualPrompt))
    tower = model.get_base_model().get_encoder(modality="image")
    for row in make_rows("llava"):
        result = logits(model, FAMILIES["llava"].batch([row]))[0]
        whole = base.get_input_embeddings()(row.input_ids)
        pieces: list[Tensor] = []
        text: list[int] = []
        places = [i for i in range(len(row)) if row.input_ids[i] == IMAGE]
        begins = [i for i in places if i - 1 not in places]
        pictures = iter(row.pictures)
        for i in range(len(row)):
            if i in begins:
                pixels = next(pictures).tensors["pixel_values"]
                with torch.no_grad():
                    seen = tower(pixels, output_hidden_states=True).hidden_states[-2]
                    pieces.append(prompt.cls_phi(tower.post_layernorm(seen)[:, 0]))
            elif row.input_ids[i] != IMAGE:
                pieces.append(whole[i : i + 1])
                text.append(i)
        assert len(pieces) == len(text) + len(row.pictures)
        short = torch.cat(pieces)
        is_text = torch.tensor([any(torch.equal(p[0], whole[i]) for i in text) for p in pieces])
        with torch.no_grad():
            states = base.get_decoder()(inputs_embeds=short[None]).last_hidden_state
            expected = base.lm_head(states)[0]
        torch.testing.assert_close(result[text], expected[is_text], rtol=1e-4, atol=1e-4)
        assert not result[[i for i in places if i not in begins]].any()


def test_hidden_states_come_back_at_their_places(make: Make, make_rows: Make) -> None:
    model, rows = make("llava", "replace"), make_rows("llava")
    batch = FAMILIES["llava"].batch(rows)
    with torch.no_grad():
        output = model(**batch, output_hidden_states=True)
    assert len(output.hidden_states) == 4
    for states in output.hidden_states:
        assert states.shape[:2] == batch["input_ids"].shape
    text = (batch["input_ids"] != IMAGE) & batch["attention_mask"].bool()
    embedded = model.get_input_embeddings()(batch["input_ids"])
    assert torch.equal(output.hidden_states[0][text], embedded[text])


def test_masks_of_another_kind_are_refused(make: Make, make_rows: Make, logits: Make) -> None:
    model = make("llava", "replace")
    batch = FAMILIES["llava"].batch(make_rows("llava")[1:2])
    length = batch["input_ids"].shape[1]
    square = torch.ones(1, 1, length, length, dtype=torch.bool).tril()
    with pytest.raises(UserError, match=r"rows x tokens.*\[1, 1, "):
        logits(model, {**batch, "attention_mask": square})
    without = {name: value for name, value in batch.items() if name != "attention_mask"}
    torch.testing.assert_close(logits(model, without), logits(model, batch))
