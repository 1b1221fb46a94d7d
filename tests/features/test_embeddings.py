from __future__ import annotations

import pytest
import torch

from adaptinf.errors import UserError
from adaptinf.features import FeatureExtractor
from adaptinf.models.parts import image_token_id, text_layers
from tests.families import FAMILIES, Shape
from tests.families.adapter import adapted
from tests.features.plain import relative

SHAPES = [Shape(6, 4, 0), Shape(5, 7, 1), Shape(9, 2, 2)]


def kinds(row, image_token):
    image = row.input_ids == image_token
    answers = torch.zeros_like(image)
    answers[:-1] = row.labels[1:] != -100
    return {"answer": answers, "text": ~image, "image": image}


@pytest.mark.parametrize("name", ["llava", "qwen3_vl", "idefics3"])
@pytest.mark.parametrize("layer", ["last", 0, 2])
def test_embeddings_are_mean_states_over_tokens_of_a_kind(name, layer):
    family = FAMILIES[name]
    model, rows = adapted(family), family.rows(SHAPES)
    heard = []
    decoder = model.get_base_model().get_decoder()
    part = decoder if layer == "last" else text_layers(model)[layer]
    for tokens in ("answer", "text", "image"):
        extractor = FeatureExtractor(model, 1, embed_tokens=tokens, embed_layer=layer)
        out = extractor(family.batch(rows, "left"))
        for i, row in enumerate(rows):
            hook = part.register_forward_hook(lambda _, args, output: heard.append(output))
            batch = family.batch([row])
            del batch["labels"]
            with torch.no_grad():
                model(**batch)
            hook.remove()
            state = heard[-1]
            state = state.last_hidden_state if layer == "last" else state
            state = state[0] if isinstance(state, tuple) else state
            mask = kinds(row, image_token_id(model))[tokens]
            if mask.any():
                assert (
                    relative(out.embeddings[i], state.reshape(len(mask), -1)[mask].mean(0)) < 1e-5
                )
            else:
                assert tokens == "image" and not out.embeddings[i].any()


def test_unknown_tokens_and_layers_are_told(llava):
    with pytest.raises(UserError, match=r"no such tokens \(seen: 'prompt'\)"):
        FeatureExtractor(llava, embed_tokens="prompt")
    with pytest.raises(UserError, match="no such layer"):
        FeatureExtractor(llava, embed_layer=9)
