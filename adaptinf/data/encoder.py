"""Samples as model inputs: any Hugging Face processor, labels on answer tokens only."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature

from adaptinf.data.chat import Chat, Rendered, RenderError, Span
from adaptinf.data.images import ImageInfo
from adaptinf.data.sample import Sample, Turn
from adaptinf.errors import UserError

IGNORED = -100
"""Label of a position that bears no loss."""

Fit = Literal["whole", "shortened", "too-long"]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a row is in tokens, images expanded.

    ``n_tokens`` is what ``encode`` gives, so for a shortened row what is left of it; for a row that
    is too long, what it would be uncut.
    """

    n_tokens: int
    fits: Fit


@dataclass(frozen=True, slots=True)
class _Replaced:
    """A placeholder in the unexpanded text and the text that the processor puts there."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class _Layout:
    """Token positions of one expanded row: which are answers, and where the last image ends."""

    answer: np.ndarray
    images_end: int
    n_tokens: int

    def measured(self, max_length: int) -> Measured:
        if self.n_tokens <= max_length:
            return Measured(self.n_tokens, "whole")
        if self.images_end <= max_length and self.answer[:max_length].any():
            return Measured(max_length, "shortened")
        return Measured(self.n_tokens, "too-long")


@dataclass(frozen=True, slots=True)
class _Processed:
    """A padded batch, with each row's character offsets per token and its expanded images."""

    batch: BatchFeature
    offsets: Sequence[Sequence[tuple[int, int]]]
    replaced: list[list[_Replaced]]


class Encoder:
    """Turns samples and prompts into padded batches for a model.

    Works with every processor that renders a chat template, tells where it expanded image
    placeholders (``return_text_replacement_offsets``) and has a fast tokenizer. Answer spans are
    carried through that expansion character by character, so labels are exact whatever stands
    around an image. A row longer than ``max_length`` tokens loses its tail, never part of an image,
    and only while an answer token is left. Raises ``UserError`` for any other processor.
    """

    def __init__(self, processor: Any, max_length: int) -> None:
        name = type(processor).__name__
        tokenizer = processor.tokenizer
        if not tokenizer.is_fast:
            raise UserError("a fast tokenizer is needed", where=name, seen=type(tokenizer).__name__)
        if tokenizer.pad_token is None:
            raise UserError("the tokenizer has no padding token", where=name)
        self.processor = processor
        self.max_length = max_length
        self.chat = Chat(processor)
        # The processor sets padding on its own tokenizer at every call; this one never pads.
        self._counter = deepcopy(tokenizer.backend_tokenizer)
        self._counter.no_padding()
        self._counter.no_truncation()
        self._expansions: dict[tuple[int, int, bool], str] = {}
        self._expanding = Lock()
        # A template that writes the start token itself must not be given a second one.
        start = self.chat.prompt([Turn("user", "probe")])
        bos = tokenizer.bos_token
        self._special = {"add_special_tokens": not (bos and start.startswith(bos))}
        self._expansion(ImageInfo(width=32, height=32, digest=""), alone=True)

    def messages(self, turns: Sequence[Turn]) -> list[dict[str, Any]]:
        """The turns as chat template input, see ``Chat.messages``."""
        return self.chat.messages(turns)

    def prompt(self, turns: Sequence[Turn]) -> str:
        """The rendered text after which the model answers the last user turn."""
        return self.chat.prompt(turns)

    def length(self, sample: Sample, images: Sequence[ImageInfo]) -> Measured:
        """As ``lengths``, of one row. Raises ``RenderError`` for one that cannot be rendered."""
        (measured,) = self.lengths([sample], [images])
        if isinstance(measured, RenderError):
            raise measured
        return measured

    def lengths(
        self, samples: Sequence[Sample], images: Sequence[Sequence[ImageInfo]]
    ) -> list[Measured | RenderError]:
        """Tokens of rows as ``encode`` would make them, from the sizes of their images alone.

        Of a row that cannot be rendered, why not. The expansion of an image is learnt once per size
        from a blank image: what processors tell of themselves leaves out the tokens around an image
        (Gemma 3: 256 told, 260 made). Several threads may ask at the same time.
        """
        texts = self.chat.texts([sample.turns for sample in samples])
        rows = list(zip(samples, images, texts, strict=True))
        whole = [self._expanded(text, sizes)[0] for _, sizes, text in rows if isinstance(text, str)]
        counts = map(len, self._counter.encode_batch_fast(whole, **self._special))
        return [
            text if isinstance(text, RenderError) else self._measured(next(counts), sample, sizes)
            for sample, sizes, text in rows
        ]

    def _measured(
        self, n_tokens: int, sample: Sample, images: Sequence[ImageInfo]
    ) -> Measured | RenderError:
        """What a row of so many tokens is; where its answers stand tells only if it is long."""
        if n_tokens <= self.max_length:
            return Measured(n_tokens, "whole")
        try:
            rendered = self.chat.rendered(sample.turns)
        except RenderError as error:
            return error
        text, replaced = self._expanded(rendered.text, images)
        offsets = self._counter.encode(text, **self._special).offsets
        return _layout(rendered, replaced, offsets).measured(self.max_length)

    def _expanded(self, text: str, images: Sequence[ImageInfo]) -> tuple[str, list[_Replaced]]:
        """A text with its placeholders expanded, and what was put in their places."""
        alone = len(images) == 1
        replaced = self._placed(text, [self._expansion(image, alone=alone) for image in images])
        return _expand(text, replaced), replaced

    def encode(
        self, samples: Sequence[Sample], images: Sequence[Sequence[Image.Image]]
    ) -> BatchFeature:
        """Batch for training and features: right padded, with ``labels``.

        ``labels`` [rows, tokens] holds the token on answer positions (answer text and the token
        that ends the turn) and -100 elsewhere. The other tensors are the processor's own. Raises
        ``UserError`` for a row that does not fit ``max_length``.
        """
        rendered = [self.chat.rendered(sample.turns) for sample in samples]
        processed = self._process([r.text for r in rendered], images, side="right")
        ids = processed.batch["input_ids"]
        labels = torch.full_like(ids, IGNORED)
        for row, sample in enumerate(samples):
            n_tokens = int(processed.batch["attention_mask"][row].sum())
            layout = _layout(
                rendered[row], processed.replaced[row], processed.offsets[row][:n_tokens]
            )
            if layout.measured(self.max_length).fits == "too-long":
                raise UserError(
                    f"the row has {n_tokens} tokens and cannot be cut to {self.max_length}",
                    where=sample.uid,
                    hint="raise data.max_length",
                )
            answer = torch.from_numpy(np.flatnonzero(layout.answer))
            labels[row, answer] = ids[row, answer]
        processed.batch["labels"] = labels
        return _cut(processed.batch, self.max_length)

    def encode_prompts(
        self, prompts: Sequence[Sequence[Turn]], images: Sequence[Sequence[Image.Image]]
    ) -> BatchFeature:
        """Batch for generation: left padded, each row ends where its answer begins."""
        texts = [self.prompt(turns) for turns in prompts]
        return self._process(texts, images, side="left").batch

    def _expansion(self, image: ImageInfo, *, alone: bool) -> str:
        """What the processor writes for an image of this size, alone in its row or one of several.

        LLaVA-OneVision cuts an image into tiles only when it is alone.
        """
        key = (image.height, image.width, alone)
        with self._expanding:
            if key not in self._expansions:
                blank = Image.new("RGB", (image.width, image.height))
                copies = [blank] if alone else [blank, blank]
                mark = self.chat.placeholder
                processed = self._process([mark * len(copies)], [copies], side="right")
                self._expansions[key] = processed.replaced[0][-1].text
            return self._expansions[key]

    def _placed(self, text: str, expansions: Sequence[str]) -> list[_Replaced]:
        replaced, at = [], 0
        for expansion in expansions:
            start = text.index(self.chat.placeholder, at)
            at = start + len(self.chat.placeholder)
            replaced.append(_Replaced(Span(start, at), expansion))
        return replaced

    def _process(
        self, texts: list[str], images: Sequence[Sequence[Image.Image]], *, side: str
    ) -> _Processed:
        nested = [list(row) for row in images]
        batch = self.processor(
            text=texts,
            images=nested if any(nested) else None,
            padding=True,
            padding_side=side,
            **self._special,
            return_offsets_mapping=True,
            return_text_replacement_offsets=True,
        )
        offsets = batch.pop("offset_mapping")
        records = batch.pop("text_replacement_offsets", None) or [[] for _ in texts]
        replaced = [
            [_Replaced(Span(*record["span"]), record["replacement"]) for record in row]
            for row in records
        ]
        if [len(row) for row in replaced] != [len(row) for row in nested]:
            raise UserError(
                "the processor does not tell where it placed the images",
                where=type(self.processor).__name__,
                hint="a newer transformers release may support this model",
            )
        batch.convert_to_tensors("pt")
        return _Processed(batch, offsets, replaced)


def _expand(text: str, replaced: Sequence[_Replaced]) -> str:
    pieces, at = [], 0
    for item in replaced:
        pieces += [text[at : item.span.start], item.text]
        at = item.span.stop
    return "".join([*pieces, text[at:]])


def _layout(
    rendered: Rendered, replaced: Sequence[_Replaced], offsets: Sequence[tuple[int, int]]
) -> _Layout:
    """Token positions of the answers and images, from the offsets of the expanded text."""
    starts, stops = np.asarray(offsets, dtype=np.int64).reshape(-1, 2).T
    answer = np.zeros(len(starts), dtype=bool)
    for span in rendered.answers:
        start, stop = _moved(span.start, replaced), _moved(span.stop, replaced)
        answer |= (starts < stop) & (stops > start)
    images_end = 0
    for item in replaced:
        start = _moved(item.span.start, replaced)
        image = (starts < start + len(item.text)) & (stops > start)
        answer &= ~image
        images_end = int(np.flatnonzero(image)[-1]) + 1
    return _Layout(answer, images_end, len(starts))


def _moved(position: int, replaced: Sequence[_Replaced]) -> int:
    """Where a character of the unexpanded text stands in the expanded one."""
    before = (item for item in replaced if item.span.stop <= position)
    return position + sum(len(i.text) - (i.span.stop - i.span.start) for i in before)


def _cut(batch: BatchFeature, length: int) -> BatchFeature:
    """The batch with every tensor laid out like ``input_ids`` cut to ``length`` tokens."""
    shape = batch["input_ids"].shape
    for key, value in batch.items():
        if isinstance(value, torch.Tensor) and value.shape == shape:
            batch[key] = value[:, :length]
    return batch
