"""Run any Hugging Face image-text-to-text model as far as its last hidden states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from adaptinf.errors import UserError
from adaptinf.models.caches import cache_argument, cache_of
from adaptinf.models.parts import bare_model, image_token_id, inner_model
from adaptinf.models.prefix import Prefix


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
        decoder = self._bare.get_decoder()
        self._decoder = decoder.base_model if self._queries else decoder

    def __call__(self, inputs: Mapping[str, Any]) -> Tensor:
        """Last hidden states [b, T, h] of inputs as the model's processor gives them.

        ``qformer_input_ids`` [b, tokens], where there are such, are asked of every image of a row.
        """
        return self._output(inputs, use_cache=False).last_hidden_state

    def prefix(self, inputs: Mapping[str, Any]) -> Prefix:
        """What the decoder keeps of one row without padding, as the start of others."""
        kept = cache_of(self._output(inputs, use_cache=True))
        # Qwen counts positions by these, of the row just run, and only where it is told of images.
        drifts = getattr(self._inner, "rope_deltas", None)
        told = drifts is not None and "mm_token_type_ids" in inputs
        return Prefix.of(kept, drift=int(drifts) if told else 0)

    def after(self, prefix: Prefix, ids: Tensor, mask: Tensor) -> Tensor:
        """Last hidden states [b, T, h] of text that follows a prefix in every row.

        ``ids`` [b, T] hold no images and are padded on the right, where ``mask`` [b, T] is 0.
        """
        places = torch.arange(ids.shape[1], device=ids.device) + prefix.following
        return self._decoder(
            input_ids=ids,
            attention_mask=torch.cat([mask.new_ones(len(ids), prefix.tokens), mask], 1),
            position_ids=places.expand_as(ids),
            use_cache=True,
            **cache_argument(self._decoder, prefix.cache()),
        ).last_hidden_state

    def _output(self, inputs: Mapping[str, Any], use_cache: bool) -> Any:
        if self._inner is not None:
            return self._inner(**inputs, use_cache=use_cache)
        ids = inputs["input_ids"]
        states = self._bare.get_input_embeddings()(ids)
        if "pixel_values" in inputs:
            places = (ids == image_token_id(self._bare))[:, :, None]
            states = states.masked_scatter(places, self._queried(inputs).to(states.dtype))
        return self._decoder(
            inputs_embeds=states, attention_mask=inputs["attention_mask"], use_cache=use_cache
        )

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
