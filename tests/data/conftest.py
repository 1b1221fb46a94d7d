"""Tiny processors and image files, made here so that no test needs a download."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import CLIPImageProcessorPil, LlavaProcessor, PreTrainedTokenizerFast

from adaptinf.data.sample import Sample, Turn, sample_digest, sample_uid

SENTENCES = [
    "What colour is the bus? The bus is red and it stands on the left.",
    "Describe this image in detail. There are two small dogs on a green couch.",
    "Is it moving? No, it is not moving at all. Write a haiku about the sea.",
]

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ 'USER: ' if message['role'] == 'user' else 'ASSISTANT:' }}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n"
    "{% elif message['role'] == 'user' %}{{ part['text'] }}"
    "{% else %}{{ ' ' + part['text'] }}{% endif %}"
    "{% endfor %}"
    "{{ '\n' if message['role'] == 'user' else '</s>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def _tiny_tokenizer(special: tuple[str, ...] = (), **named: Any) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "</s>", "<s>", *special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", **named},
    )


def _tiny_llava(template: str | None = CHAT_TEMPLATE, **named: Any) -> LlavaProcessor:
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        ),
        tokenizer=_tiny_tokenizer(("<image>",), **named),
        patch_size=8,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        chat_template=template,
    )


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Callable[..., PreTrainedTokenizerFast]:
    """Makes a byte-level BPE tokenizer of some 400 entries: ``</s>`` ends, ``<pad>`` pads."""
    return _tiny_tokenizer


@pytest.fixture(scope="session")
def tiny_llava() -> Callable[..., LlavaProcessor]:
    """Makes a LLaVA processor; images become 32x32 pixels, 4 x 4 = 16 tokens."""
    return _tiny_llava


@pytest.fixture(scope="session")
def llava_processor() -> LlavaProcessor:
    """The tiny LLaVA processor with its default template."""
    return _tiny_llava()


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
