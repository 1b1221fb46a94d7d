"""Equal-width bins that do not hang on the last bit of a float."""

from __future__ import annotations

import numpy as np

from selection.pool import Positions, Scores


def equal_bins(values: Scores, low: float, high: float, count: int) -> Positions:
    """Bin 0..count-1 of each finite value: floor(count * (value - low) / (high - low)), clipped.

    Values outside [low, high] go to the end bins, ``high`` itself to the last; all go to bin 0 when
    low equals high. Positions are rounded to a millionth of a bin first, so that a change of unit,
    which disturbs the last bits, cannot move a value that lies on an edge.
    """
    if low == high:
        return np.zeros(len(values), dtype=np.int64)
    scale = max(abs(low), abs(high))
    start, span = low / scale, high / scale - low / scale
    position = np.round((values / scale - start) * (count / span), 6)
    return np.clip(np.floor(position), 0, count - 1).astype(np.int64)
