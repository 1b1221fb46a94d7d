"""Which tokens decide a row's route, and how long a route holds.

A route is decided in the first forward pass over a row's prompt, layer by layer, and kept: for the
tokens generated after it, with and without a cache, and for layers that gradient checkpointing
computes again.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import Cache

from adaptinf.errors import UserError
from adaptinf.models.caches import cache_in, cache_of

_NO_ANSWER = -100


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Factors chosen for each row of a batch: ``a`` and ``b`` [rows, rank] int64, best first.

    The k-th of ``a`` is paired with the k-th of ``b``.
    """

    a: Tensor
    b: Tensor


@dataclass(slots=True, eq=False)
class Route:
    """The choices of one batch, by mixture; each mixture adds its own when it is first run.

    ``prompt`` [rows, tokens] bool are the tokens that decide; None: all. A route that ``follows``
    belongs to tokens after the prompt and takes no more choices.
    """

    prompt: Tensor | None = None
    choices: dict[nn.Module, Choice] = field(default_factory=dict)
    follows: bool = False

    @property
    def rows(self) -> int | None:
        """Rows of the batch, as far as they are known."""
        known = self.prompt
        if known is None and self.choices:
            known = next(iter(self.choices.values())).a
        return None if known is None else len(known)

    def following(self) -> Route:
        """The same choices for what comes after the prompt."""
        return Route(None, self.choices, follows=True)


@dataclass(slots=True, eq=False)
class _Call:
    """One call of PEFT's model; all forward passes in it share a route."""

    route: Route | None = None


class Routing:
    """The routes of one model: listens to its forward passes and tells each mixture its route."""

    def __init__(self) -> None:
        self.last: Route | None = None
        """The route of the newest forward pass."""
        self._depth = 0
        self._call: _Call | None = None
        self._labels: Tensor | None = None
        self._replayed: Route | None = None
        self._by_cache: WeakKeyDictionary[Cache, Route] = WeakKeyDictionary()

    def listen(self, model: nn.Module) -> list[RemovableHandle]:
        """Listen to ``model``, and to the parts of it that are also called by themselves."""
        parts = [model, getattr(model, "base_model", model)]
        if hasattr(model, "get_decoder"):
            decoder = model.get_decoder()
            parts += [decoder, getattr(decoder, "base_model", decoder)]
        handles = []
        for part in dict.fromkeys(part for part in parts if part is not None):
            handles.append(part.register_forward_pre_hook(self._enter, with_kwargs=True))
            # Also after an error, so that the next forward pass starts clean.
            leave = part.register_forward_hook(self._leave, with_kwargs=True, always_call=True)
            handles.append(leave)
        return handles

    def current(self) -> Route:
        """The route for the layer that asks.

        A layer that is called by itself, outside of the model, gets one of its own, decided by all
        of its tokens.
        """
        if self._depth and self.last is not None:
            return self.last
        return self._replayed or Route()

    @contextmanager
    def one_call(self) -> Iterator[None]:
        """Forward passes inside share the route of the first: how ``generate`` works uncached."""
        outer = self._call
        self._call = outer or _Call()
        try:
            yield
        finally:
            self._call = outer

    @contextmanager
    def knowing(self, labels: Tensor | None) -> Iterator[None]:
        """Forward passes inside that are given no labels have these."""
        outer, self._labels = self._labels, labels
        try:
            yield
        finally:
            self._labels = outer

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._depth += 1
        if self._depth == 1:
            self.last = None
            self.last = self._route_of(_arguments(module, args, kwargs))

    def _leave(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        self._depth -= 1
        route = self.last
        if self._depth or route is None:
            return
        if (cache := cache_of(output)) is not None:
            self._by_cache.setdefault(cache, route)
        if torch.is_grad_enabled():
            # Gradient checkpointing runs layers again in the backward pass, where another forward
            # pass may have come in between. The gradient of an output arrives before that.
            for tensor in _tensors(output):
                if tensor.requires_grad:
                    tensor.register_hook(partial(self._replay, route))

    def _replay(self, route: Route, _: Tensor) -> None:
        self._replayed = route
        torch.autograd.Variable._execution_engine.queue_callback(self._end_replay)

    def _end_replay(self) -> None:
        self._replayed = None

    def _route_of(self, inputs: Mapping[str, Any]) -> Route:
        if self._call is not None and self._call.route is not None:
            return self._call.route.following()
        cache = cache_in(inputs)
        if cache is not None and int(cache.get_seq_length()):
            kept = self._by_cache.get(cache)
            if kept is None:
                raise UserError(
                    "a cache that was filled elsewhere has no MixLoRA route",
                    where="cache",
                    hint="give the whole prompt without it",
                )
            return kept.following()
        route = Route(self._prompt(inputs))
        if self._call is not None:
            self._call.route = route
        if cache is not None:
            self._by_cache[cache] = route
        return route

    def _prompt(self, inputs: Mapping[str, Any]) -> Tensor | None:
        tokens = inputs.get("input_ids")
        tokens = inputs.get("inputs_embeds") if tokens is None else tokens
        if tokens is None:
            return None
        mask = inputs.get("attention_mask")
        if mask is None:
            mask = tokens.new_ones(tokens.shape[:2], dtype=torch.bool)
        if not isinstance(mask, Tensor) or mask.shape != tokens.shape[:2]:
            seen = list(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
            raise UserError(
                "MixLoRA needs an attention mask of rows x tokens to know the prompts",
                where="attention_mask",
                seen=seen,
                hint="give the mask that the processor makes, and no static cache",
            )
        labels = inputs.get("labels")
        return prompt_tokens(mask, self._labels if labels is None else labels)


def prompt_tokens(attention_mask: Tensor, labels: Tensor | None) -> Tensor:
    """The tokens [rows, tokens] bool of each row before its first answer; padding never counts.

    Without labels, as at the start of generation, every token belongs to the prompt. With them
    (-100 where no answer stands) the same tokens count in training as will count then, and no
    answer leaks into its own route. The first token counts in any case: it is never predicted.
    """
    attended = attention_mask.bool()
    if labels is None:
        return attended
    answered = attended & (labels.to(attended.device) != _NO_ANSWER)
    first = attended & (attended.cumsum(1) == 1)
    return attended & ((answered.cumsum(1) == 0) | first)


def _arguments(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """All arguments of a forward pass by name."""
    if not args:
        return kwargs
    names = inspect.signature(module.forward).parameters
    return {**dict(zip(names, args, strict=False)), **kwargs}


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, tuple | list):
        for value in output:
            yield from _tensors(value)
