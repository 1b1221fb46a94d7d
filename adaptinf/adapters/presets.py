"""Placements by name: the default, and those of published recipes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from adaptinf.adapters.placement import connector_linears
from adaptinf.errors import UserError, suggestion
from adaptinf.routes import Placement

_QUERY_AND_VALUE = ("q", "v")


def placements(model: nn.Module, given: str | Sequence[Placement]) -> tuple[Placement, ...]:
    """The entries that a placement's name stands for on this model; others are as they are given.

    Raises:
        UserError: there is no placement of that name.
    """
    if not isinstance(given, str):
        return tuple(given)
    if given not in _PRESETS:
        raise UserError(
            "unknown placement",
            where="adapter.placement",
            seen=given,
            hint=suggestion(given, _PRESETS),
        )
    return _PRESETS[given](model)


def _text(model: nn.Module) -> tuple[Placement, ...]:
    """Every linear module of the text layers."""
    return (Placement("text"),)


def _conlora(model: nn.Module) -> tuple[Placement, ...]:
    """ConLoRA's configuration ``conlora_det_llm``: blocks 14 to 38 of 39, Q-Former, all text."""
    return (*_conlora_seeing(model), Placement("text", _QUERY_AND_VALUE, r=8, alpha=32))


def _conlora_body(model: nn.Module) -> tuple[Placement, ...]:
    """ConLoRA's ``bodyllm``, the one of its demo: of the text, layers 0 to 21 of 32."""
    text = Placement("text", _QUERY_AND_VALUE, "lower:0.69", r=8, alpha=32)
    return (*_conlora_seeing(model), text)


def _conlora_seeing(model: nn.Module) -> tuple[Placement, ...]:
    """Upper vision blocks and Q-Former; a connector without attention gets LoRA on its linears."""
    vision = Placement("vision", _QUERY_AND_VALUE, "upper:0.64", r=16, alpha=16)
    if connector_linears(model, _QUERY_AND_VALUE):
        return (vision, Placement("connector", _QUERY_AND_VALUE, r=16, alpha=16))
    if connector_linears(model):
        return (vision, Placement("connector", r=16, alpha=16))
    return (vision,)


def _dora_llava(model: nn.Module) -> tuple[Placement, ...]:
    """DoRA's LLaVA-1.5 run: rank 128 on the text, the projector itself at a rate of its own."""
    return (
        Placement("text", r=128, alpha=256),
        Placement("connector", r="full", learning_rate=2e-5),
    )


def _mixlora_llava(model: nn.Module) -> tuple[Placement, ...]:
    """MixLoRA's LLaVA run: the text, and the projector itself."""
    return (Placement("text"), Placement("connector", r="full"))


def _full(model: nn.Module) -> tuple[Placement, ...]:
    """LLaVA's second stage but for embeddings and head: text layers and projector themselves."""
    return (Placement("text", r="full"), Placement("connector", r="full"))


_PRESETS: dict[str, Callable[[nn.Module], tuple[Placement, ...]]] = {
    "text": _text,
    "conlora": _conlora,
    "conlora-body": _conlora_body,
    "dora-llava": _dora_llava,
    "mixlora-llava": _mixlora_llava,
    "full": _full,
}
