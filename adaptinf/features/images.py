"""Which part of a batch's image tensors is whose, so that a row can stand alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adaptinf.features.inputs import FILLED, LISTED, Batch, BatchLayout

TOKENWISE = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")


@dataclass(frozen=True, slots=True, eq=False)
class ImageParts:
    """A batch and, for each of its rows, the image tensors of the row alone."""

    batch: Batch
    of_row: tuple[dict[str, Tensor], ...]
    filled: bool

    @classmethod
    def of(cls, batch: Batch, layout: BatchLayout) -> ImageParts | None:
        """The parts of rows that all have an image; None where it cannot be told whose is what."""
        inputs = batch.inputs
        images = FILLED if layout.filled else LISTED
        if not {"attention_mask", "pixel_values"} <= set(inputs) <= {*TOKENWISE, *images}:
            return None
        if layout.filled:
            return cls(batch, tuple(_unfilled(inputs)), filled=True)
        counts = _counts(inputs, inputs["input_ids"] == layout.image_token)
        return cls(batch, tuple(_split(inputs, counts)), filled=False) if counts else None

    def rows(self, places: Sequence[int]) -> Batch:
        """Some rows of the batch."""
        if len(places) == len(self.of_row):
            return self.batch
        index = torch.tensor(places, device=self.batch.labels.device)
        inputs = {
            name: value[index]
            if self.filled or name in TOKENWISE
            else torch.cat([self.of_row[place][name] for place in places])
            for name, value in self.batch.inputs.items()
        }
        return Batch(inputs, self.batch.labels[index])


def _unfilled(inputs: Mapping[str, Any]) -> Iterator[dict[str, Tensor]]:
    """Each row's images without those of nothing but zeros, which the model leaves out."""
    there = inputs["pixel_values"].flatten(2).any(2)
    names = [name for name in FILLED if name in inputs]
    for row, own in enumerate(there):
        yield {name: inputs[name][row, own][None] for name in names}


def _counts(inputs: Mapping[str, Any], places: Tensor) -> list[int] | None:
    """How many images of the list each row has, or None.

    Images of one size have as many tokens each. Images that are given with their sizes differ in
    that; they are counted by the runs of their tokens, if that comes to as many as there are.
    """
    sizes = inputs.get("image_grid_thw", inputs.get("image_sizes"))
    tokens = places.sum(1)
    if sizes is None:
        images = len(inputs["pixel_values"])
        counts, rest = tokens * images // tokens.sum(), tokens * images % tokens.sum()
        sound = not rest.any()
    else:
        runs = places[:, :1].sum(1) + (places[:, 1:] & ~places[:, :-1]).sum(1)
        counts, images = runs, len(sizes)
        sound = int(runs.sum()) == images
    told = inputs.get("batch_num_images")
    # Its numbers decide how an image is cut into tiles, and may be all 1 for a list without rows.
    if told is not None and told[told > 0].tolist() != counts.tolist():
        return None
    return counts.tolist() if sound else None


def _split(inputs: Mapping[str, Any], counts: list[int]) -> Iterator[dict[str, Tensor]]:
    """The lists, cut into ``counts`` images for each row; Qwen's pixels are a list of patches."""
    parts = {
        name: inputs[name].split(counts)
        for name in ("image_grid_thw", "image_sizes")
        if name in inputs
    }
    grids = parts.get("image_grid_thw")
    entries = [int(grid.prod(1).sum()) for grid in grids] if grids else counts
    parts["pixel_values"] = inputs["pixel_values"].split(entries)
    if "batch_num_images" in inputs:
        parts["batch_num_images"] = torch.tensor(counts).to(inputs["batch_num_images"]).split(1)
    for row in range(len(counts)):
        yield {name: part[row] for name, part in parts.items()}
