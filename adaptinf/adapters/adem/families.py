"""What ADEM must know of a family of models: which features its vision tower gives, and where."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from adaptinf.errors import UserError
from adaptinf.models.parts import bare_model

_MERGED = ("qwen2_5_vl", "qwen3_vl")
"""Towers that give the tokens of all images in one list, of any sizes."""

_SHUFFLED = ("idefics3", "smolvlm")

ADD = ("gemma3", "internvl", "llava", "paligemma", *_MERGED, *_SHUFFLED)
"""Model types that ``mode: add`` is for."""

REPLACE = ("internvl", "llava", "qwen2_5_vl")
"""Those whose decoder can do without image tokens: it makes its mask itself from that of the
tokens, and takes nothing else at their places. Qwen3-VL adds features there in several layers;
Gemma 3 and PaliGemma make their masks, which look both ways at an image, before the decoder."""


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Images, or tiles of images, as the vision tower gave them, in their order in the batch.

    ``maps`` are the features [width, rows, columns] of each, ``wholes`` [n, width] its [cls] token,
    or the mean of its features where the tower has none. ``tokens`` [n]: how many tokens of the
    text stand for each; None: as many as the connector makes of the first. ``output`` is what the
    tower gave.
    """

    maps: list[Tensor]
    wholes: Tensor
    tokens: list[int] | None
    output: Any


@dataclass(frozen=True, slots=True, eq=False)
class Eyes:
    """The vision tower of a model, as ADEM uses it."""

    tower: nn.Module
    width: int
    """Size of one feature."""
    blocks: list[nn.Module]
    """Those blocks of the tower that the features come through."""
    layer: int | None
    """Which of the tower's hidden states are the features; None: its last states."""
    merged: bool
    shuffle: int | None
    """So many features by so many become one token, in families that lay their tokens by rows."""

    def pictures(self, kwargs: Mapping[str, Any], output: Any) -> Pictures:
        """The images in a call of the tower with ``kwargs``."""
        if self.merged:
            return self._merged(kwargs["grid_thw"], output)
        states = output.last_hidden_state
        if self.layer is not None:
            # The paper's norm over all tokens; LLaVA's own connector does without.
            states = self.tower.post_layernorm(output.hidden_states[self.layer])
        side = math.isqrt(states.shape[1])
        first = states.shape[1] - side * side
        maps = states[:, first:].transpose(1, 2).unflatten(2, (side, side))
        wholes = states[:, 0] if first else states.mean(1)
        tokens = None if self.shuffle is None else [(side // self.shuffle) ** 2] * len(maps)
        return Pictures(list(maps), wholes, tokens, output)

    def _merged(self, grids: Tensor, output: Any) -> Pictures:
        side = self.tower.spatial_merge_size
        shapes = [(t * h // side, w // side) for t, h, w in grids.tolist()]
        tokens = [rows * columns for rows, columns in shapes]
        parts = output.pooler_output.split(tokens)
        maps = [p.T.unflatten(1, shape) for p, shape in zip(parts, shapes, strict=True)]
        return Pictures(maps, torch.stack([p.mean(0) for p in parts]), tokens, output)


def eyes_of(model: nn.Module, mode: str) -> Eyes:
    """The vision tower of ``model``, checked for use in ``mode``.

    Raises:
        UserError: the mode is not for this family, or the model reads several layers of its tower.
    """
    bare = bare_model(model)
    known = REPLACE if mode == "replace" else ADD
    kind = bare.config.model_type
    if kind not in known:
        hint = "choose mode add, or " if kind in ADD else "choose another route, or "
        raise UserError(
            f"ADEM's mode {mode} is not for {type(bare).__name__}",
            where="adapter.mode",
            seen=kind,
            hint=hint + "a model of " + ", ".join(known),
        )
    tower = bare.get_encoder(modality="image")
    layer = bare.config.vision_feature_layer if kind == "llava" else None
    if not isinstance(layer, int | None):
        raise UserError(
            "ADEM reads one layer of the vision tower",
            where="vision_feature_layer of the model",
            seen=layer,
            hint="choose a model whose connector reads one",
        )
    vision = bare.config.vision_config
    merged = kind in _MERGED
    blocks = next(
        list(module)
        for module in tower.modules()
        if isinstance(module, nn.ModuleList) and hasattr(module[0], "mlp")
    )
    if layer is not None:
        # Hidden state 0 is before the first block.
        blocks = blocks[: range(len(blocks) + 1)[layer]]
    width = vision.out_hidden_size if merged else vision.hidden_size
    shuffle = bare.config.scale_factor if kind in _SHUFFLED else None
    return Eyes(tower, width, blocks, layer, merged, shuffle)
