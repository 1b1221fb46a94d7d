"""Processors of many families, as small as their models and with the same special tokens.

Their tokenizer is trained on three sentences; images become 32 x 32 pixels or a few such tiles.
"""

from __future__ import annotations

from functools import partial
from typing import Any
from unittest import mock

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, ProcessorMixin

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

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for p in m['content'] %}"
    "{% if p['type'] == 'image' %}IMAGE{% else %}{{ p['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_TURNS = ("<|im_start|>", "<|im_end|>")
_GRIDS = [[32, 64], [64, 32], [64, 64]]


def tiny_tokenizer(special: tuple[str, ...] = (), **named: Any) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of some 400 entries: ``</s>`` ends, ``<pad>`` pads."""
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


def tiny_llava(template: str | None = CHAT_TEMPLATE, **named: Any) -> ProcessorMixin:
    """A LLaVA processor; an image is 4 x 4 = 16 tokens."""
    return transformers.LlavaProcessor(
        image_processor=transformers.CLIPImageProcessorPil(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        ),
        tokenizer=tiny_tokenizer((*_TURNS, "<image>"), **named),
        patch_size=8,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        chat_template=template,
    )


def _llava_next() -> ProcessorMixin:
    return transformers.LlavaNextProcessor(
        image_processor=transformers.LlavaNextImageProcessorPil(
            size={"shortest_edge": 32},
            crop_size={"height": 32, "width": 32},
            image_grid_pinpoints=_GRIDS,
        ),
        tokenizer=tiny_tokenizer((*_TURNS, "<image>")),
        patch_size=8,
        vision_feature_select_strategy="full",
        chat_template=CHATML.replace("IMAGE", "<image>\n"),
    )


def _llava_onevision() -> ProcessorMixin:
    return transformers.LlavaOnevisionProcessor(
        image_processor=transformers.LlavaOnevisionImageProcessorPil(
            size={"height": 32, "width": 32}, image_grid_pinpoints=_GRIDS
        ),
        tokenizer=tiny_tokenizer((*_TURNS, "<image>", "<video>")),
        video_processor=None,
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=CHATML.replace("IMAGE", "<image>\n"),
    )


def _gemma3() -> ProcessorMixin:
    names = {"image_token": "<soft>", "boi_token": "<boi>", "eoi_token": "<eoi>"}
    breaks = ["\n" * n for n in (2, 3, 4, 5)]
    return transformers.Gemma3Processor(
        transformers.Gemma3ImageProcessorPil(size={"height": 32, "width": 32}),
        tiny_tokenizer((*_TURNS, *names.values(), *breaks), extra_special_tokens=names),
        chat_template=CHATML.replace("IMAGE", "<boi>"),
        image_seq_length=4,
    )


def _idefics3() -> ProcessorMixin:
    tiles = [f"<row_{i}_col_{j}>" for i in range(1, 7) for j in range(1, 7)]
    special = ("<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>")
    return transformers.Idefics3Processor(
        image_processor=transformers.Idefics3ImageProcessorPil(
            size={"longest_edge": 64}, max_image_size={"longest_edge": 32}
        ),
        tokenizer=tiny_tokenizer((*_TURNS, *special, *tiles)),
        image_seq_len=4,
        chat_template=CHATML.replace("IMAGE", "<image>"),
    )


def _internvl() -> ProcessorMixin:
    names = {
        "context_image_token": "<IMG_CONTEXT>",
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "video_token": "<video>",
    }
    return transformers.InternVLProcessor(
        image_processor=transformers.GotOcr2ImageProcessorPil(
            size={"height": 32, "width": 32}, max_patches=3
        ),
        tokenizer=tiny_tokenizer((*_TURNS, *names.values()), extra_special_tokens=names),
        image_seq_length=4,
        chat_template=CHATML.replace("IMAGE", "<IMG_CONTEXT>\n"),
    )


def _qwen(kind: type[ProcessorMixin]) -> ProcessorMixin:
    special = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
    names = {"image_token": special[0], "video_token": special[1]}
    return kind(
        transformers.Qwen2VLImageProcessorPil(
            patch_size=4, merge_size=2, min_pixels=64, max_pixels=1024
        ),
        tiny_tokenizer((*_TURNS, *special), extra_special_tokens=names),
        chat_template=CHATML.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"),
    )


_MAKERS = {
    "llava": tiny_llava,
    "llava_next": _llava_next,
    "llava_onevision": _llava_onevision,
    "gemma3": _gemma3,
    "idefics3": _idefics3,
    "internvl": _internvl,
    "qwen2_5_vl": partial(_qwen, transformers.Qwen2_5_VLProcessor),
    "qwen3_vl": partial(_qwen, transformers.Qwen3VLProcessor),
}

PROCESSORS = tuple(_MAKERS)
"""Families, named as in ``FAMILIES``, that :func:`processor_of` has a processor for."""


def processor_of(family: str) -> ProcessorMixin:
    """A family's processor."""
    # Some insist on a video processor, and those need torchvision; no test has a video.
    with mock.patch.object(ProcessorMixin, "check_argument_for_proper_class"):
        return _MAKERS[family]()
