"""What a test needs of a model family: a tiny model, and batches as its processor would give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.families.rows import IMAGE, Picture, Row, Shape, join, pad, words

Images = Sequence[Sequence[Picture]]
"""The images of every row of a batch."""


def chained(images: Images) -> dict[str, Tensor]:
    """The parts of all images one after the other; most families have no rows of images."""
    pictures = [picture for row in images for picture in row]
    names = pictures[0].tensors if pictures else {}
    return {name: torch.cat([p.tensors[name] for p in pictures]) for name in names}


def nothing(row: Row) -> dict[str, Tensor]:
    """No tensors beside the tokens."""
    return {}


def plain_logits(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    """The model's own logits [b, T, V], from its own forward pass."""
    return model(**batch).logits


@dataclass(frozen=True)
class Family:
    """One family of models, each of random weights from a seed, float32, 3 text layers.

    ``build`` makes the model. ``picture`` draws one image, knowing whether it is alone in its row;
    ``together`` lays the images of a batch out. ``marks`` gives further tensors [T] of a row, of
    zeros on padding, named as the model takes them; ``question`` such of a length of their own,
    whose places count, so that they are padded on the right. ``logits`` runs the model as Hugging
    Face means it to be run. ``blank`` is the value of every pixel of a blank image.
    ``images_first``: the processor puts images before all text.
    """

    build: Callable[[], PreTrainedModel]
    picture: Callable[[torch.Generator, bool], Picture]
    together: Callable[[Images], dict[str, Tensor]] = chained
    marks: Callable[[Row], dict[str, Tensor]] = nothing
    question: Callable[[Row], dict[str, Tensor]] = nothing
    logits: Callable[[PreTrainedModel, dict[str, Tensor]], Tensor] = plain_logits
    blank: float = 0.0
    images_first: bool = False

    def rows(self, shapes: Sequence[Shape], seed: int = 0) -> list[Row]:
        """One row per shape."""
        generator = torch.Generator().manual_seed(seed)
        rows = []
        for shape in shapes:
            prompt, answer = words(generator, shape.prompt), words(generator, shape.answer)
            pictures = [self.picture(generator, shape.images == 1) for _ in range(shape.images)]
            rows.append(join(prompt, answer, pictures, self.images_first))
        return rows

    def batch(self, rows: Sequence[Row], side: str = "right") -> dict[str, Tensor]:
        """Rows as one padded batch with ``labels``; no image tensors where no row has an image."""
        marks = [self.marks(row) for row in rows]
        questions = [self.question(row) for row in rows]
        return {
            "input_ids": pad([row.input_ids for row in rows], 0, side),
            "attention_mask": pad([torch.ones_like(row.labels) for row in rows], 0, side),
            "labels": pad([row.labels for row in rows], -100, side),
            **{name: pad([mark[name] for mark in marks], 0, side) for name in marks[0]},
            **{name: pad([q[name] for q in questions], 0, "right") for name in questions[0]},
            **(self.together([row.pictures for row in rows]) if any_image(rows) else {}),
        }

    def blanked(self, row: Row) -> Row:
        """The row with blank images of the same sizes."""
        pictures = []
        for picture in row.pictures:
            blank = torch.full_like(picture.tensors["pixel_values"], self.blank)
            if "pixel_attention_mask" in picture.tensors:
                blank *= picture.tensors["pixel_attention_mask"][:, None]
            pictures.append(replace(picture, tensors={**picture.tensors, "pixel_values": blank}))
        return replace(row, pictures=tuple(pictures))


def without_images(row: Row) -> Row:
    """The row with the tokens of its image patches taken out."""
    kept = row.input_ids != IMAGE
    return Row(row.input_ids[kept], row.labels[kept], ())


def any_image(rows: Sequence[Row]) -> bool:
    """Whether any of the rows has an image."""
    return any(row.pictures for row in rows)
