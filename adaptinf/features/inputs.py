"""A batch as a processor lays it out, changed in one respect: fewer rows, or other images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from adaptinf.features.tokens import IGNORED
from adaptinf.models.parts import fills_rows_with_images, image_token_id

LISTED = ("pixel_values", "image_sizes", "image_grid_thw", "batch_num_images")
FILLED = ("pixel_values", "pixel_attention_mask")
_QUESTIONS = ("qformer_input_ids", "qformer_attention_mask")

# (0 - 0.5) / 0.5: so normalise, by default, the processors of all families that fill rows.
_BLACK = -1.0


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """``inputs`` as the model takes them, and ``labels`` [b, T]."""

    inputs: Mapping[str, Any]
    labels: Tensor

    @classmethod
    def on(cls, model: nn.Module, given: Mapping[str, Any]) -> Batch:
        """What a processor gives, with ``labels``, where a model is and in its own float type.

        Not every family sees to the type of its pixels.
        """

        def moved(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            dtype = model.dtype if value.is_floating_point() else value.dtype
            return value.to(model.device, dtype, non_blocking=True)

        inputs = {name: moved(value) for name, value in given.items()}
        return cls(inputs, inputs.pop("labels"))


@dataclass(frozen=True, slots=True)
class BatchLayout:
    """Where the images of a batch are: their token in ``input_ids``, and the order of their pixels.

    ``filled``: ``pixel_values`` [b, images, ...] have a place for every row, of zeros where it has
    fewer images, and the model leaves zeros out. Otherwise the images of all rows are one list.
    """

    image_token: int
    filled: bool

    @classmethod
    def of(cls, model: nn.Module) -> BatchLayout:
        """The layout that a model reads.

        Raises:
            UserError: its configuration names no image token.
        """
        return cls(image_token_id(model), fills_rows_with_images(model))

    def with_image(self, inputs: Mapping[str, Any]) -> Tensor:
        """Which rows [b] have an image."""
        return (inputs["input_ids"] == self.image_token).any(1)

    def text_left_out(self, batch: Batch) -> tuple[Batch, Tensor]:
        """The rows that have an image, and their positions.

        All rows where it cannot be told which tensors of the batch have a part for each row.
        """
        rows = self.with_image(batch.inputs).nonzero()[:, 0]
        every = torch.arange(len(batch.labels), device=rows.device)
        if len(rows) == len(every):
            return batch, every
        parted = FILLED if self.filled else ()
        taken = {}
        for name, value in batch.inputs.items():
            if name in parted or name in _QUESTIONS or _shaped(value, batch.labels):
                taken[name] = value[rows]
            elif name in LISTED and not self.filled:
                # Rows without an image have no part in the list.
                taken[name] = value
            else:
                return batch, every
        return Batch(taken, batch.labels[rows]), rows

    def blanked(self, batch: Batch) -> Batch:
        """The same rows with blank images: pixels that are 0 after normalisation.

        Where zeros are padding, a blank image is black instead, on the pixels that it had.

        Raises:
            ValueError: there are no pixels.
        """
        pixels = batch.inputs.get("pixel_values")
        if pixels is None:
            raise ValueError("the batch has image tokens but no pixel_values")
        blank = torch.zeros_like(pixels)
        if self.filled:
            there = pixels.flatten(2).any(2)[:, :, None, None, None]
            if "pixel_attention_mask" in batch.inputs:
                there = there & batch.inputs["pixel_attention_mask"].bool()[:, :, None]
            blank = blank.masked_fill(there, _BLACK)
        return Batch({**batch.inputs, "pixel_values": blank}, batch.labels)

    def images_dropped(self, batch: Batch) -> Batch:
        """The same rows without their image tokens, padded on the right; only text is left.

        Tokens that a family sets around its images (a start, an end, a line break) stay.
        """
        ids = batch.inputs["input_ids"]
        kept = batch.inputs["attention_mask"].bool() & (ids != self.image_token)
        lengths = kept.sum(1)
        longest = int(lengths.max())
        order = (~kept).byte().argsort(dim=1, stable=True)[:, :longest]
        inputs = {
            name: value.gather(1, order)
            for name, value in batch.inputs.items()
            if _shaped(value, ids)
        }
        there = torch.arange(longest, device=ids.device) < lengths[:, None]
        inputs["attention_mask"] = there.to(inputs["attention_mask"].dtype)
        return Batch(inputs, batch.labels.gather(1, order).masked_fill(~there, IGNORED))


def _shaped(value: Any, like: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == like.shape
