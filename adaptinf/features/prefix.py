"""Losses of rows that begin alike, their beginning run through the model once for all of them."""

from __future__ import annotations

import hashlib
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from adaptinf.features.forward import Forward
from adaptinf.features.images import TOKENWISE, ImageParts
from adaptinf.features.inputs import Batch, BatchLayout
from adaptinf.features.tokens import IGNORED
from adaptinf.models.prefix import Prefix

PREFIXES = 8


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """A row cut after its last image token: ``start`` as a batch of one, then text [n].

    ``key`` tells starts apart by all that shapes what the model makes of them.
    """

    start: dict[str, Tensor]
    key: bytes
    ids: Tensor
    labels: Tensor


class BlankLosses:
    """Losses of rows with blank images, whose beginnings differ in nothing but the images' layout.

    Where the model allows it, all up to the last image token runs once, as a batch of one, and for
    every row only the text that follows. The whole length runs for the others: rows that share
    their beginning with no other row of the batch (one that is alone may share it with other
    batches), rows with an answer before the end of their images, and batches of which it cannot be
    told what part is whose. Which row goes which way is seen from its batch alone, so that results
    are the same bytes whatever came before.
    """

    def __init__(self, layout: BatchLayout, forward: Forward) -> None:
        """The losses under the model that ``forward`` runs."""
        self._layout = layout
        self._forward = forward
        self._known: OrderedDict[bytes, Prefix] | None = None

    @contextmanager
    def model_unchanged(self) -> Iterator[None]:
        """Inside, the model must not change: the last 8 beginnings serve later batches as well.

        Outside, none outlives its batch. It is for the caller to say because tensors do not tell:
        their version counters miss what is written through ``.data``, as DeepSpeed does, and an
        adapter is switched or scaled without a write. A checksum of all weights for every batch
        costs more than the beginning (measured: 0.075 s against 0.05 s for 64M weights, one core).
        """
        before, self._known = self._known, OrderedDict()
        try:
            yield
        finally:
            self._known = before

    def __call__(self, batch: Batch) -> Tensor:
        """The losses [b] of rows that all have an image, were it blank.

        Raises:
            ValueError: there are no pixels.
        """
        blank = self._layout.blanked(batch)
        images = ImageParts.of(blank, self._layout) if self._forward.prefix_stands_alone else None
        if images is None:
            return self._forward.losses(blank)
        rows = _cut(images, self._layout.image_token)
        groups = _alike(rows)
        whole = sorted(set(range(len(rows))).difference(*groups))
        losses = [self._forward.losses(images.rows(whole))] if whole else []
        losses += [self._after_start([rows[place] for place in group]) for group in groups]
        places = torch.tensor([*whole, *(place for group in groups for place in group)])
        return torch.cat(losses)[places.argsort().to(losses[0].device)]

    def _after_start(self, rows: Sequence[_Row]) -> Tensor:
        """The losses of rows whose starts are the same."""
        start = rows[0].start
        device = start["pixel_values"].device
        ids = pad_sequence([row.ids for row in rows], batch_first=True)
        labels = pad_sequence([row.labels for row in rows], True, IGNORED)
        lengths = torch.tensor([len(row.ids) for row in rows])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).to(start["attention_mask"].dtype)
        text = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
        prefix = self._prefix(rows[0])
        return self._forward.losses_after(prefix, Batch(text, labels.to(device)))

    def _prefix(self, row: _Row) -> Prefix:
        if self._known is not None and row.key in self._known:
            self._known.move_to_end(row.key)
            return self._known[row.key]
        device = row.start["pixel_values"].device
        prefix = self._forward.prefix({name: part.to(device) for name, part in row.start.items()})
        if self._known is not None:
            self._known[row.key] = prefix
            while len(self._known) > PREFIXES:
                self._known.popitem(last=False)
        return prefix


def _alike(rows: Sequence[_Row | None]) -> list[list[int]]:
    """Places of rows with the same start, two of them at least but in a batch of one."""
    groups = defaultdict(list)
    for place, row in enumerate(rows):
        if row is not None:
            groups[row.key].append(place)
    return [group for group in groups.values() if len(group) > 1 or len(rows) == 1]


def _cut(images: ImageParts, image_token: int) -> list[_Row | None]:
    """The rows, cut; None for one with a part of its answer before the text or at its start."""
    inputs = images.batch.inputs
    tokens = {name: inputs[name].cpu() for name in TOKENWISE if name in inputs}
    labels = images.batch.labels.cpu()
    return [
        _cut_row(
            {name: value[place, there] for name, value in tokens.items()},
            labels[place, there],
            own,
            image_token,
        )
        for place, (there, own) in enumerate(
            zip(tokens["attention_mask"].bool(), images.of_row, strict=True)
        )
    ]


def _cut_row(
    tokens: dict[str, Tensor], labels: Tensor, images: dict[str, Tensor], image_token: int
) -> _Row | None:
    ids = tokens["input_ids"]
    end = int((ids == image_token).nonzero().max()) + 1
    # The state of the last image token predicts the first token of the text.
    if end == len(ids) or (labels[: end + 1] != IGNORED).any():
        return None
    start = {name: value[None, :end] for name, value in tokens.items()} | images
    return _Row(start, _key(start), ids[end:], labels[end:])


def _key(start: dict[str, Tensor]) -> bytes:
    """A digest of a start; of blank pixels, their shape and mask are all there is to know."""
    digest = hashlib.sha256()
    for name, value in sorted(start.items()):
        digest.update(f"{name} {list(value.shape)} ".encode())
        if name == "pixel_attention_mask":
            digest.update(value.bool().cpu().numpy().tobytes())
        elif name != "pixel_values":
            digest.update(value.cpu().numpy().tobytes())
    return digest.digest()
