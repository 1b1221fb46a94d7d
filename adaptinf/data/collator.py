"""Samples and their images to one batch: the way into the model for training and for features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptinf.data.encoder import Encoder
from adaptinf.data.images import load_image
from adaptinf.data.sample import Sample


@dataclass(frozen=True, slots=True)
class Collator:
    """Samples to a padded batch with labels on answer tokens; images are read here, in workers."""

    encoder: Encoder
    image_root: Callable[[str], Path]

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """One batch as the model takes it."""
        images = [[load_image(self.image_root(s.dataset) / p) for p in s.images] for s in samples]
        return dict(self.encoder.encode(samples, images))
