"""What new rows share with benchmarks and with other datasets: pictures, sentences, or both.

Rows become numbers: a look per image and a hash per sentence. Sentences that many rows have are
templates and say nothing. A row and a question, or two rows, that have an image and a sentence in
common are taken for the same thing in other words.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptinf.data.looks import alike
from adaptinf.data.sample import IMAGE_MARK

LONG = 8
"""Words from which on a sentence alone says that a text has been seen."""

_SHORTEST = 3
_RARE_SHARE, _RARE_ROWS = 1e-3, 20

_ENDS = re.compile(r"[.?!\n]+(?:\s|$)|\n")
_WORDS = re.compile(r"\w+")

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Texts:
    """A row, or a question: its digest where it has one, its texts, and the keys of its images."""

    digest: str
    texts: Sequence[str]
    images: Sequence[int]


@dataclass(frozen=True, slots=True)
class Prints:
    """Rows as numbers.

    ``sentences`` and ``images`` are pairs of columns: the row's number and what it has. A sentence
    is ``long`` or not. ``digests`` are those of whole rows.
    """

    rows: int
    digests: Hashes
    sentence_rows: NDArray[np.int64]
    sentences: Hashes
    long: NDArray[np.bool_]
    image_rows: NDArray[np.int64]
    images: Hashes

    @classmethod
    def of(cls, rows: Iterable[Texts]) -> Prints:
        """The prints of rows, templates among their sentences left out."""
        digests: list[int] = []
        sentences: list[tuple[int, int, bool]] = []
        images: list[tuple[int, int]] = []
        for number, row in enumerate(rows):
            digests.append(int(row.digest[:16] or "0", 16))
            found = {pair for text in row.texts for pair in sentence_hashes(text)}
            sentences += [(number, hashed, long) for hashed, long in sorted(found)]
            images += [(number, key) for key in dict.fromkeys(row.images)]
        at, hashed, long = _columns(sentences, (np.int64, np.uint64, np.bool_))
        image_at, keys = _columns(images, (np.int64, np.uint64))
        rare = _is_rare(hashed, len(digests))
        return cls(
            len(digests),
            np.array(digests, dtype=np.uint64),
            at[rare],
            hashed[rare],
            long[rare],
            image_at,
            keys,
        )

    def seen_as(self, others: Prints) -> Prints:
        """These prints with each image named as one of the others' that is alike."""
        return Prints(
            self.rows,
            self.digests,
            self.sentence_rows,
            self.sentences,
            self.long,
            self.image_rows,
            alike(self.images, np.unique(others.images)),
        )

    @property
    def pairs(self) -> tuple[NDArray[np.int64], Hashes]:
        """Rows, and a hash of each image with each sentence that they have."""
        counts = np.bincount(self.sentence_rows, minlength=self.rows)
        starts = np.cumsum(counts) - counts
        each = counts[self.image_rows]
        steps = np.arange(each.sum()) - np.repeat(np.cumsum(each) - each, each)
        sentence = np.repeat(starts[self.image_rows], each) + steps
        images = np.repeat(self.images, each)
        mixed = (images * np.uint64(0x9E3779B97F4A7C15)) ^ self.sentences[sentence]
        return np.repeat(self.image_rows, each), mixed


@dataclass(frozen=True, slots=True)
class Shared:
    """Of so many ``rows``, or questions, how many others have too.

    ``exact``: the whole row, byte for byte. ``images``: a picture. ``near``: a picture and a
    sentence. ``texts``: a long sentence.
    """

    rows: int
    exact: int
    images: int
    near: int
    texts: int


# By sorting: NumPy 2.0 fails on the range of hashes above 2^63, which the other way begins with.
_among = partial(np.isin, kind="sort")


def shared(ours: Prints, others: Prints) -> Shared:
    """What of our rows the others have."""
    named = ours.seen_as(others)
    exact = _among(ours.digests, others.digests) & (ours.digests > 0)
    pairs, hashes = named.pairs
    both = _among(hashes, others.pairs[1])
    seen = _among(named.images, others.images)
    long = ours.long & _among(ours.sentences, others.sentences[others.long])
    return Shared(
        rows=ours.rows,
        exact=int(exact.sum()),
        images=len(np.unique(named.image_rows[seen])),
        near=len(np.unique(pairs[both])),
        texts=len(np.unique(ours.sentence_rows[long])),
    )


def sentence_hashes(text: str) -> list[tuple[int, bool]]:
    """A hash for each sentence of three words or more, and whether it is long.

    Upper case and signs make no difference.
    """
    found = []
    for sentence in _ENDS.split(text.replace(IMAGE_MARK, "\n")):
        words = _WORDS.findall(sentence.lower())
        if len(words) >= _SHORTEST:
            raw = " ".join(words).encode("utf-8", "replace")
            hashed = hashlib.blake2b(raw, digest_size=8).digest()
            found.append((int.from_bytes(hashed), len(words) >= LONG))
    return found


def image_key(digest: str, look: int | None) -> int:
    """What an image is known by: its look, or for a picture of nothing, its bytes."""
    return look if look is not None else int(digest[:16], 16)


def told(found: Mapping[str, Shared]) -> dict[str, dict[str, int]]:
    """The numbers by name, for a JSON file."""
    return {
        name: {key: getattr(one, key) for key in ("rows", "exact", "images", "near", "texts")}
        for name, one in found.items()
    }


def _columns(rows: Sequence[tuple[int, ...]], types: Sequence[Any]) -> list[NDArray[Any]]:
    columns = zip(*rows, strict=True) if rows else [()] * len(types)
    return [np.array(column, dtype=kind) for column, kind in zip(columns, types, strict=True)]


def _is_rare(hashes: Hashes, rows: int) -> NDArray[np.bool_]:
    """Whether a sentence is of so few rows that it is not a template."""
    if not hashes.size:
        return np.zeros(0, dtype=bool)
    _, back, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    rare: NDArray[np.bool_] = (counts <= max(_RARE_ROWS, _RARE_SHARE * rows))[back]
    return rare
