"""What the text layers see in a forward pass: made once, before the first of them.

The model runs its own vision tower; hooks take the features from there, find which row each image
belongs to by the image tokens of the text, and make keys and values when the decoder is entered.
They are kept for tokens that follow with the same cache, and for layers that gradient
checkpointing computes again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import Cache, PreTrainedModel

from adaptinf.adapters.adem.attention import Shared
from adaptinf.adapters.adem.families import Eyes, Pictures
from adaptinf.adapters.adem.layout import Layout, layout_of
from adaptinf.adapters.adem.prompt import Places, VisualPrompt
from adaptinf.errors import UserError
from adaptinf.models.caches import cache_in, cache_of
from adaptinf.models.parts import image_token_id, inner_model


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What a batch's rows see: nothing where no row has an image."""

    shared: Shared | None = None
    layout: Layout | None = None
    follows: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Text:
    """The text of a forward pass: its image tokens [rows, T] bool, and images encoded before."""

    images: Tensor
    encoded: Any


class Perception:
    """The sights of one model.

    ``prompt`` gives that of the adapter in use, or None; ``trained`` what is trained of it.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prompt: Callable[[], VisualPrompt | None],
        trained: Callable[[], list[nn.Parameter]],
    ) -> None:
        self._prompt = prompt
        self._trained = trained
        self._image_token = image_token_id(model)
        self._pictures: Pictures | None = None
        self._text: _Text | None = None
        self._sight: Sight | None = None
        self._replayed: Sight | None = None
        self._by_cache: WeakKeyDictionary[Cache, Sight] = WeakKeyDictionary()

    def listen(self, model: PreTrainedModel, eyes: Eyes) -> list[RemovableHandle]:
        """Listen to the vision tower, to the model around tower and decoder, and to the decoder."""
        inner, decoder = inner_model(model), model.get_decoder()
        look = partial(self._look, eyes)
        return [
            eyes.tower.register_forward_hook(look, with_kwargs=True),
            inner.register_forward_pre_hook(self._read, with_kwargs=True),
            # Also after an error, so that the next forward pass starts clean.
            inner.register_forward_hook(self._forget, with_kwargs=True, always_call=True),
            decoder.register_forward_pre_hook(self._enter, with_kwargs=True),
            decoder.register_forward_hook(self._leave, with_kwargs=True, always_call=True),
        ]

    def current(self) -> Shared | None:
        """Keys and values for the layer that asks."""
        sight = self._sight or self._replayed
        return None if sight is None else sight.shared

    @contextmanager
    def one_call(self) -> Iterator[None]:
        """Images encoded inside count inside only; ``generate`` does so ahead of its passes."""
        try:
            yield
        finally:
            self._pictures = None

    def _look(self, eyes: Eyes, _: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        if self._prompt() is not None:
            self._pictures = eyes.pictures(kwargs, output)

    def _read(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = args[0] if args else kwargs.get("input_ids")
        encoded = (kwargs.get("mm_encoder_outputs") or {}).get("image")
        if encoded is None:
            self._pictures = None
        self._text = None if ids is None else _Text(ids == self._image_token, encoded)

    def _forget(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        if not kwargs.get("mm_encoder_outputs"):
            self._pictures = None
        self._text = None

    def _enter(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        self._sight = None
        text, self._text = self._text, None
        prompt = self._prompt()
        if prompt is None:
            return None
        cache = cache_in(kwargs)
        if cache is not None and int(cache.get_seq_length()):
            arguments = self._follow(cache, text, kwargs)
        else:
            arguments = self._begin(prompt, text, kwargs)
        return args, arguments

    def _begin(
        self, prompt: VisualPrompt, text: _Text | None, kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        self._sight = Sight()
        pictures = self._pictures
        if text is None and pictures is not None:
            raise _unplaced("no input_ids")
        encoded = None if text is None else text.encoded
        if encoded is not None and (pictures is None or encoded is not pictures.output):
            raise UserError(
                "ADEM has not seen the images of this batch",
                where="mm_encoder_outputs",
                hint="give the model the images themselves",
            )
        if text is None or pictures is None or not text.images.any():
            return self._bound(kwargs)
        places = places_of(text.images, pictures)
        shared = prompt.shared(pictures, places)
        if not prompt.replaces:
            self._sight = Sight(shared)
            return kwargs
        layout = layout_of(text.images, places, kwargs.get("attention_mask"))
        self._sight = Sight(shared, layout)
        arguments = dict(kwargs)
        layout.shortened(arguments, places, prompt.tokens(pictures))
        return arguments

    def _bound(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The same, but in training every trained parameter gets a gradient of zero.

        Else a batch of text alone has nothing to go backward to, and one process of several would
        wait for its gradients for ever.
        """
        trained = self._trained() if torch.is_grad_enabled() and "inputs_embeds" in kwargs else []
        if not trained:
            return kwargs
        nothing = torch.stack([0 * parameter.sum() for parameter in trained]).sum()
        states = kwargs["inputs_embeds"]
        return {**kwargs, "inputs_embeds": states + nothing.to(states)}

    def _follow(self, cache: Cache, text: _Text | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        kept = self._by_cache.get(cache)
        if kept is None or (self._pictures is not None and text is not None and text.images.any()):
            what = "a cache that was filled elsewhere has no sight of the images"
            raise UserError(
                what if kept is None else "ADEM takes no new images after a cache",
                where="cache",
                hint="give the whole prompt without it",
            )
        self._sight = Sight(kept.shared, kept.layout, follows=True)
        arguments = dict(kwargs)
        if kept.layout is not None:
            kept.layout.continued(arguments)
        return arguments

    def _leave(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        sight, self._sight = self._sight, None
        if sight is None or output is None:
            return
        if (cache := cache_of(output)) is not None:
            self._by_cache[cache] = sight
        if torch.is_grad_enabled() and output.last_hidden_state.requires_grad:
            # Gradient checkpointing runs layers again in the backward pass, where another forward
            # pass may have come in between. The gradient of the output arrives before that.
            output.last_hidden_state.register_hook(partial(self._replay, sight))
        if sight.layout is not None and not sight.follows:
            output.last_hidden_state = sight.layout.spread(output.last_hidden_state)
            if output.hidden_states is not None:
                output.hidden_states = tuple(map(sight.layout.spread, output.hidden_states))

    def _replay(self, sight: Sight, _: Tensor) -> None:
        self._replayed = sight
        torch.autograd.Variable._execution_engine.queue_callback(self._end_replay)

    def _end_replay(self) -> None:
        self._replayed = None


def places_of(images: Tensor, pictures: Pictures) -> Places:
    """Where ``pictures`` stand in a text with image tokens at ``images`` [rows, T] bool.

    Rows that ``generate`` repeats, for beams or several answers, share their pictures.

    Raises:
        UserError: the text has not the image tokens that these pictures need.
    """
    count = len(pictures.maps)
    tokens = pictures.tokens or [len(pictures.output.pooler_output[0])] * count
    copies, rest = divmod(int(images.sum()), sum(tokens))
    if rest or len(images) % copies:
        raise _unplaced(f"{int(images.sum())} image tokens for images of {sum(tokens)}")
    ends = torch.tensor(tokens, device=images.device).cumsum(0)
    where = images[::copies].nonzero()
    begins = where[ends - torch.tensor(tokens, device=images.device)]
    row, column = begins.unbind(1)
    per_row = torch.bincount(row, minlength=len(images) // copies)
    slot = torch.arange(count, device=row.device) - (per_row.cumsum(0) - per_row)[row]
    copy = torch.arange(copies, device=row.device)
    return Places(
        picture=torch.arange(count, device=row.device).repeat_interleave(copies),
        row=(row[:, None] * copies + copy).flatten(),
        slot=slot.repeat_interleave(copies),
        column=column.repeat_interleave(copies),
        counts=per_row.repeat_interleave(copies).tolist(),
    )


def _unplaced(seen: str) -> UserError:
    return UserError(
        "ADEM cannot tell which row each image belongs to",
        where="input_ids",
        seen=seen,
        hint="give the processor's input_ids along with the images",
    )
