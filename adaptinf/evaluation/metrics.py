"""What continual learning reads off a matrix of scores: one function per measure, formula in it.

Everywhere ``scores``, ``a[t, i]`` below, is [T + 1, N] in percent: row 0 the untouched base model,
row t the model after step t, column i one benchmark. ``learned``, ``l_i`` below, is [N] whole
numbers: the step that first taught benchmark i, 0 where none ever does; a step beyond T is still to
come. Published formulas assume one benchmark per step, learned in order (``l_i = i``), and these
reduce to them there. What is undefined (a mean over nothing) is None.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Forgetting = Literal["max-drop", "end-drop"]


def average_accuracy(scores: np.ndarray, step: int) -> float:
    """Mean of ``a[step, i]`` over all benchmarks, percent."""
    return float(np.mean(scores[step]))


def average_seen_accuracy(scores: np.ndarray, learned: np.ndarray, step: int) -> float | None:
    """Mean of ``a[step, i]`` over benchmarks with ``1 <= l_i <= step``, percent.

    In the square case A_t of Lopez-Paz & Ranzato 2017 (GEM, section 2.1).
    """
    return _mean(scores[step, (learned >= 1) & (learned <= step)])


def mean_average_accuracy(scores: np.ndarray, learned: np.ndarray) -> float | None:
    """Mean of the average seen accuracy over the steps 1..T at which something had been learned.

    "Average incremental accuracy" of Rebuffi et al. 2017 (iCaRL); MAA of CoIN and MCITlib.
    """
    seen = [average_seen_accuracy(scores, learned, step) for step in range(1, len(scores))]
    return _mean(np.array([value for value in seen if value is not None]))


def learning_accuracy(scores: np.ndarray, learned: np.ndarray) -> float | None:
    """Mean of ``a[l_i, i]`` over learned benchmarks: what training reached before later steps came.

    Riemer et al. 2019; MFT of SEFE and MCITlib.
    """
    columns = _learned_by(learned, _last(scores))
    return _mean(scores[learned[columns], columns])


def backward_transfer(scores: np.ndarray, learned: np.ndarray) -> float | None:
    """Mean of ``a[T, i] - a[l_i, i]`` over benchmarks with ``l_i < T``; below 0 is forgetting.

    BWT of GEM, with T - 1 benchmarks in the square case (not T). Points.
    """
    columns = _learned_by(learned, _last(scores) - 1)
    return _mean(scores[-1, columns] - scores[learned[columns], columns])


def forward_transfer(scores: np.ndarray, learned: np.ndarray) -> float | None:
    """Mean of ``a[l_i - 1, i] - a[0, i]`` over benchmarks with ``2 <= l_i <= T``.

    FWT of GEM with the base model in place of random initialisation, since a pretrained model
    already knows something: what earlier steps gave to a skill before its own data came. Points.
    """
    columns = _learned_by(learned, _last(scores))
    columns = columns[learned[columns] >= 2]
    return _mean(scores[learned[columns] - 1, columns] - scores[0, columns])


def drops(scores: np.ndarray, learned: np.ndarray, kind: Forgetting) -> np.ndarray:
    """Loss per benchmark [N] in points, NaN where ``l_i`` is 0 or not below T.

    ``max-drop``: ``max over l_i <= t < T of a[t, i]``, minus ``a[T, i]`` (Chaudhry et al. 2018,
    RWalk); the last row is outside the maximum, so a benchmark that ends at its best is negative.
    ``end-drop``: ``a[l_i, i] - a[T, i]``.
    """
    lost = np.full(scores.shape[1], np.nan)
    for i in _learned_by(learned, _last(scores) - 1):
        path = scores[learned[i] :, i]
        lost[i] = (path[:-1].max() if kind == "max-drop" else path[0]) - path[-1]
    return lost


def forgetting(scores: np.ndarray, learned: np.ndarray, kind: Forgetting) -> float | None:
    """Mean of ``drops`` over benchmarks with ``l_i < T``, points. End-drop is minus BWT."""
    lost = drops(scores, learned, kind)
    return _mean(lost[~np.isnan(lost)])


def worst_drop(scores: np.ndarray, learned: np.ndarray) -> float | None:
    """Mean over ``l_i < T`` of ``max over l_i <= t < u <= T of a[t, i] - a[u, i]``, points.

    The deepest fall on the way, also where a later step mended it, which both kinds of forgetting
    hide (De Lange et al. 2023, the stability gap).
    """
    columns = _learned_by(learned, _last(scores) - 1)
    paths = [scores[learned[i] :, i] for i in columns]
    return _mean(np.array([(np.maximum.accumulate(p)[:-1] - p[1:]).max() for p in paths]))


def relative_gain(scores: np.ndarray, reference: np.ndarray) -> float | None:
    """100 x mean of ``a[T, i] / reference[i]``: percent of the ``reference`` [N], over 100 better.

    Adapt-infinity (Maharana et al. 2025), whose text names the measure but not the reference: say
    with the number which one was taken. None where a reference is 0.
    """
    if not (reference > 0).all():
        return None
    return _mean(100.0 * scores[-1] / reference)


def forgetting_rate(scores: np.ndarray, learned: np.ndarray) -> float | None:
    """Mean over all (i, t) with ``l_i < t <= T`` of ``100 max(0, b - a[t, i]) / b``.

    ``b = max over l_i <= u < t of a[u, i]``, the best so far; pairs with ``b <= 0`` are left out.
    In percent of the best, so not comparable with the measures in points. Adapt-infinity names it
    (mean relative drop over skills and steps) without a formula; this is our reading.
    """
    rates: list[float] = []
    for i in _learned_by(learned, _last(scores) - 1):
        path = scores[learned[i] :, i]
        best = np.maximum.accumulate(path)[:-1]
        falls = 100.0 * np.maximum(0.0, best - path[1:])
        rates.extend((falls[best > 0] / best[best > 0]).tolist())
    return _mean(np.array(rates))


def retention(scores: np.ndarray, learned: np.ndarray) -> float | None:
    """Mean of ``a[T, i] - a[0, i]`` over benchmarks that no step teaches: general ability kept.

    The general-ability delta of TRACE (Wang et al. 2023). Points; below 0 is loss.
    """
    never = learned == 0
    return _mean(scores[-1, never] - scores[0, never])


def _last(scores: np.ndarray) -> int:
    return len(scores) - 1


def _learned_by(learned: np.ndarray, step: int) -> np.ndarray:
    """Columns with ``1 <= l_i <= step``, ascending."""
    return np.flatnonzero((learned >= 1) & (learned <= step))


def _mean(values: np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None
