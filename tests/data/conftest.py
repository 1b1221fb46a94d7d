"""Samples and image files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import ProcessorMixin

from adaptinf.data.sample import Sample, Turn, sample_digest, sample_uid
from tests.families.processors import tiny_llava


@pytest.fixture(scope="session")
def llava_processor() -> ProcessorMixin:
    """The tiny LLaVA processor with its default template."""
    return tiny_llava()


@pytest.fixture(scope="session")
def picture() -> Callable[..., Image.Image]:
    """Makes a noise image of a width and height, different for every seed."""

    def make(width: int, height: int, seed: int = 0) -> Image.Image:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        return Image.fromarray(pixels)

    return make


@pytest.fixture(scope="session")
def write_image(picture: Callable[..., Image.Image]) -> Callable[..., Path]:
    """Writes a noise image; ``format`` decides what it is, not the suffix."""

    def write(path: Path, *, seed: int = 0, size: tuple[int, int] = (6, 4), format="PNG") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(*size, seed=seed).save(path, format=format)
        return path

    return write


@pytest.fixture(scope="session")
def make_sample() -> Callable[..., Sample]:
    """Makes a sample of alternating turns, the user first."""

    def make(*texts: str, images: tuple[str, ...] = (), dataset: str = "toy") -> Sample:
        turns = tuple(
            Turn("user" if i % 2 == 0 else "assistant", text) for i, text in enumerate(texts)
        )
        digest = sample_digest(turns, images)
        return Sample(
            uid=sample_uid(dataset, digest),
            digest=digest,
            source_id="0",
            dataset=dataset,
            licence=None,
            task=None,
            skill=None,
            images=images,
            turns=turns,
        )

    return make
