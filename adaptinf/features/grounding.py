"""What a row's answer loses when its images are not shown: the losses behind image grounding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from adaptinf.errors import UserError
from adaptinf.features.forward import Forward
from adaptinf.features.inputs import Batch, BatchLayout
from adaptinf.features.prefix import BlankLosses

Way = Literal["blank", "drop"]


class UnseenLosses:
    """The losses of rows whose images the model does not see (Adapt-Inf, image grounding).

    By ``blank`` images, as in the method's released code, or with the image tokens taken out:
    ``drop``. Either is a forward pass over the rows that have an image, and over those alone; with
    blank images most rows need it for the text after them only (``prefix``).
    """

    def __init__(self, way: Way | None, layout: BatchLayout, forward: Forward) -> None:
        """The losses by one way; by None there are none.

        Raises:
            UserError: there is no such way.
        """
        self._blank = BlankLosses(layout, forward)
        ways: dict[str, Callable[[Batch], Tensor]] = {
            "blank": self._blank,
            "drop": lambda batch: forward.losses(layout.images_dropped(batch)),
        }
        if way is not None and way not in ways:
            raise UserError(
                "no such way of taking images away",
                where="grounding",
                seen=way,
                hint=f"give {', '.join(ways)} or None",
            )
        self._without_image = ways[way] if way else None
        self._layout = layout

    @contextmanager
    def model_unchanged(self) -> Iterator[None]:
        """Inside, the model must not change; batches then share what they have in common."""
        with self._blank.model_unchanged():
            yield

    def __call__(self, batch: Batch, seen: Tensor) -> Tensor:
        """The losses [b], for rows without an image those ``seen`` [b]; NaN where there is no way.

        Raises:
            ValueError: there are image tokens but no pixels.
        """
        if self._without_image is None:
            return torch.full_like(seen, torch.nan)
        with_image = self._layout.with_image(batch.inputs)
        if not with_image.any():
            return seen
        part, rows = self._layout.text_left_out(batch)
        return torch.where(with_image, seen.index_copy(0, rows, self._without_image(part)), seen)
