"""Run any Hugging Face image-text-to-text model as far as its last hidden states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from adaptinf.errors import UserError
from adaptinf.models.parts import bare_model, image_token_id, inner_model


class Backbone:
    """The model below its output embeddings: the states that logits would be made from.

    Models with a querying transformer (InstructBLIP, BLIP-2) have no such part, and what they have
    takes no row without an image. For them the image features are put in their places here.
    """

    def __init__(self, model: nn.Module) -> None:
        """The backbone of a model, bare or wrapped by PEFT.

        Raises:
            UserError: the model is an encoder-decoder, or has no such part.
        """
        self._bare = bare_model(model)
        if self._bare.config.get_text_config().is_encoder_decoder:
            raise UserError(
                f"{type(self._bare).__name__} has a text model that is an encoder-decoder",
                where="model.name",
                seen=self._bare.config.get_text_config().model_type,
                hint="choose a variant whose text model is a decoder, such as Vicuna or OPT",
            )
        self._queries = hasattr(self._bare, "query_tokens")
        self._inner = None if self._queries else inner_model(model)

    def __call__(self, inputs: Mapping[str, Any]) -> Tensor:
        """Last hidden states [b, T, h] of inputs as the model's processor gives them.

        ``qformer_input_ids`` [b, tokens], where there are such, are asked of every image of a row.
        """
        if self._inner is not None:
            return self._inner(**inputs, use_cache=False).last_hidden_state
        ids = inputs["input_ids"]
        states = self._bare.get_input_embeddings()(ids)
        if "pixel_values" in inputs:
            places = (ids == image_token_id(self._bare))[:, :, None]
            states = states.masked_scatter(places, self._queried(inputs).to(states.dtype))
        decoded = self._bare.language_model.base_model(
            inputs_embeds=states, attention_mask=inputs["attention_mask"], use_cache=False
        )
        return decoded.last_hidden_state

    def _queried(self, inputs: Mapping[str, Any]) -> Tensor:
        """What the queries found in each image, [images, queries, h]."""
        ids = inputs["input_ids"]
        tokens = (ids == image_token_id(self._bare)).sum(1)
        images = tokens // self._bare.config.num_query_tokens
        row_of_image = torch.arange(len(ids), device=ids.device).repeat_interleave(images)
        questions = {
            name: value[row_of_image]
            for name, value in inputs.items()
            if name.startswith("qformer_")
        }
        features = self._bare.get_image_features(inputs["pixel_values"], **questions)
        return features.pooler_output
