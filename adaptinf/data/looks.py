"""What an image looks like, in 64 bits: the same for a copy that was scaled or compressed anew."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ALIKE = 4
"""Bits in which two looks of the same picture may differ; those of different ones differ in 32."""

_SIDE = 32
_FLAT = 2.0
_BANDS = ((0, 13), (13, 13), (26, 13), (39, 13), (52, 12))  # first bit and number of bits

_angles = np.outer(np.arange(9), 2 * np.arange(_SIDE) + 1) * np.pi / (2 * _SIDE)
_COSINES = np.cos(_angles).astype(np.float32)


def look_of(image: Image.Image) -> int | None:
    """Signs of the lowest frequencies around their median; None for a picture of nothing.

    The perceptual hash of an image: grey, 32 x 32, discrete cosine transform, its 8 x 8 lowest
    frequencies without the constant one's row and column.
    """
    grey = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    pixels = np.asarray(grey, dtype=np.float32)
    if pixels.std() < _FLAT:
        return None
    low = (_COSINES @ pixels @ _COSINES.T)[1:, 1:].ravel()
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes())


def alike(ours: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """For each of our looks one of the others that is alike, or itself where there is none.

    Two looks of at most ``ALIKE`` differing bits are equal in one of five bands, so that only
    those are compared.
    """
    found = ours.copy()
    if not (ours.size and others.size):
        return found
    nearest = np.full(ours.size, ALIKE + 1)
    for first, bits in _BANDS:
        mask = np.uint64((1 << bits) - 1)
        band = (others >> np.uint64(first)) & mask
        order = np.argsort(band, kind="stable")
        wanted = (ours >> np.uint64(first)) & mask
        start = np.searchsorted(band[order], wanted, side="left")
        counts = np.searchsorted(band[order], wanted, side="right") - start
        mine = np.repeat(np.arange(ours.size), counts)
        steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        theirs = others[order[np.repeat(start, counts) + steps]]
        distance = np.bitwise_count(ours[mine] ^ theirs)
        # The nearest, and of equals the smallest: the same whatever the order.
        best = np.lexsort((theirs, distance, mine))
        leads = np.unique(mine[best], return_index=True)[1]
        best = best[leads]
        better = distance[best] < nearest[mine[best]]
        chosen = mine[best[better]]
        nearest[chosen] = distance[best[better]]
        found[chosen] = theirs[best[better]]
    return found
