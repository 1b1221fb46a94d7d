"""Rows of random tokens, and how they lie in a batch before a family adds its own tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

VOCAB = 97
IMAGE = 5
"""The token that stands for one image patch; those below 10 are kept for such uses."""

FIRST_WORD = 10


@dataclass(frozen=True)
class Shape:
    """How long a row is: words of its prompt and its answer, and its number of images."""

    prompt: int
    answer: int
    images: int


@dataclass(frozen=True)
class Picture:
    """One image: ``tokens`` [n] that stand for it in the text, and its part of each tensor."""

    tokens: Tensor
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class Row:
    """One unpadded row: ``input_ids`` and ``labels`` [T] and its images in reading order."""

    input_ids: Tensor
    labels: Tensor
    pictures: tuple[Picture, ...]

    def __len__(self) -> int:
        return len(self.input_ids)


def words(generator: torch.Generator, count: int) -> Tensor:
    """Random tokens of plain text."""
    return torch.randint(FIRST_WORD, VOCAB, (count,), generator=generator)


def join(prompt: Tensor, answer: Tensor, pictures: Sequence[Picture], first: bool) -> Row:
    """A row with its images at its very start, or each after one word of the prompt."""
    pieces: list[Tensor] = []
    for i, picture in enumerate(pictures):
        pieces += [picture.tokens] if first else [prompt[i : i + 1], picture.tokens]
    ids = torch.cat([*pieces, prompt if first else prompt[len(pictures) :], answer])
    labels = torch.full_like(ids, -100)
    labels[len(ids) - len(answer) :] = answer
    return Row(ids, labels, tuple(pictures))


def pad(values: Sequence[Tensor], filler: int, side: str) -> Tensor:
    """Vectors of different length as one matrix [b, T]."""
    longest = max(len(value) for value in values)
    rows = []
    for value in values:
        fill = value.new_full((longest - len(value),), filler)
        rows.append(torch.cat([fill, value] if side == "left" else [value, fill]))
    return torch.stack(rows)
