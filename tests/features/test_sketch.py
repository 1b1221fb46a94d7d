from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cosine_similarity

from adaptinf.features.sketch import SIDE, FactorMap, GradientSketch

SHAPES = {"q.A": (48, 4), "q.B": (100, 4), "up.A": (300, 5), "up.B": (64, 3)}


def gradients(rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(rows, *shape, generator=generator, dtype=torch.float64)
        for name, shape in SHAPES.items()
    }


def sketched(parts, dim, seed=0):
    sketch = GradientSketch(dim, seed)
    return sum(sketch.project(name, part) for name, part in parts.items())


def dense_map(draw, side, rank, dim):
    """The matrix [side * rank, dim] that a factor's map is, entry by entry."""
    kept = min(side, SIDE)
    buckets = torch.zeros(kept * rank, dim, dtype=torch.float64)
    for block in range(len(draw.source)):
        for bucket in range(dim):
            entry = int(draw.source[block, bucket])
            if entry < kept * rank:
                buckets[entry, bucket] = draw.signs[block, bucket]
    narrowing = torch.eye(side).double() if draw.narrowing is None else draw.narrowing.double()
    return torch.kron(narrowing.T.contiguous(), torch.eye(rank).double()) @ buckets


@pytest.mark.parametrize("dim", [16, 100, 1024])
def test_a_sketch_equals_the_dense_matrix(dim):
    parts = gradients(3)
    expected = torch.zeros(3, dim, dtype=torch.float64)
    for name, part in parts.items():
        draw = FactorMap.draw(*SHAPES[name], dim, f"0/{name}")
        expected += part.flatten(1) @ dense_map(draw, *SHAPES[name], dim)
    torch.testing.assert_close(sketched(parts, dim), expected)


@pytest.mark.parametrize(("side", "rank", "dim"), [(48, 4, 16), (200, 3, 16), (64, 2, 200)])
def test_each_entry_has_one_bucket_and_a_sign(side, rank, dim):
    draw = FactorMap.draw(side, rank, dim, "key")
    entries = min(side, SIDE) * rank
    used = draw.source.flatten()[draw.source.flatten() < entries]
    assert sorted(used.tolist()) == list(range(entries))
    assert set(draw.signs.flatten().tolist()) == {-1.0, 1.0}
    assert (draw.narrowing is None) == (side <= SIDE)
    if draw.narrowing is not None:
        assert set(draw.narrowing.flatten().tolist()) == {-0.125, 0.125}


def test_modules_may_come_in_any_order_and_seeds_and_names_matter():
    parts = gradients(2)
    backwards = dict(reversed(list(parts.items())))
    torch.testing.assert_close(sketched(parts, 64), sketched(backwards, 64))
    assert not torch.allclose(sketched(parts, 64), sketched(parts, 64, seed=1))
    sketch = GradientSketch(64, 0)
    same = parts["q.A"]
    assert not torch.allclose(sketch.project("q.A", same), sketch.project("k.A", same))


def test_cosines_are_kept_nearly_as_well_as_by_a_dense_projection():
    """A dense Rademacher projection errs by (1 - cosine^2) / sqrt(dim); at most 1.3 times that."""
    generator = torch.Generator().manual_seed(1)
    one, other = torch.randn(2, 14, 200, 8, generator=generator)
    errors = {}
    for planted in (0.0, 0.5, 0.9):
        pair = torch.stack([one, planted * one + (1 - planted**2) ** 0.5 * other])
        true = cosine_similarity(pair[0].flatten(), pair[1].flatten(), dim=0)
        found = []
        for seed in range(40):
            sketch = GradientSketch(512, seed)
            short = sum(sketch.project(f"{name}", pair[:, name]) for name in range(14))
            found.append(cosine_similarity(short[0], short[1], dim=0))
        errors[planted] = float((torch.stack(found) - true).square().mean().sqrt())
    assert {p: e < 1.3 * (1 - p**2) / 512**0.5 for p, e in errors.items()} == {
        0.0: True,
        0.5: True,
        0.9: True,
    }
