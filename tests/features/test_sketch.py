from __future__ import annotations

import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
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
    wide = torch.eye(side).double() if draw.wide is None else draw.wide.double()
    return torch.kron(wide.T.contiguous(), torch.eye(rank).double()) @ buckets


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
    assert (draw.wide is None) == (side <= SIDE)
    if draw.wide is not None:
        assert set(draw.wide.flatten().tolist()) == {-0.125, 0.125}


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


def layer_gradients(skills, rows, seed):
    """Gradients [rows, side, rank] by factor as a layer has them: 24 tokens' products, summed.

    The tokens of a row are those of its skill plus as much noise on either side.
    """
    generator = torch.Generator().manual_seed(seed)
    shapes = {f"{m}.{f}": side for m in range(7) for f, side in (("A", 96), ("B", 160))}
    parts = {}
    for name, side in shapes.items():
        wide = torch.randn(skills, 24, side, generator=generator)[torch.arange(rows) % skills]
        narrow = torch.randn(skills, 24, 8, generator=generator)[torch.arange(rows) % skills]
        own = torch.randn(rows, 24, side, generator=generator)
        parts[name] = (wide + own).mT @ (narrow + torch.randn(narrow.shape, generator=generator))
    return parts


def cosines(vectors):
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    return (unit @ unit.T)[tuple(torch.triu_indices(len(unit), len(unit), 1))]


def test_cosines_of_layer_gradients_err_like_those_of_a_dense_projection():
    """A dense matrix of random signs, drawn as often, of the default size 1024; at most 1.3."""
    parts = layer_gradients(skills=4, rows=12, seed=2)
    flat = torch.cat([part.flatten(1) for part in parts.values()], 1)
    true, sparse, dense = cosines(flat), [], []
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        signs = torch.randint(0, 2, (flat.shape[1], 1024), generator=generator) * 2.0 - 1
        dense.append(cosines(flat @ signs) - true)
        sparse.append(cosines(sketched(parts, 1024, seed)) - true)
    error, least = (torch.stack(found).square().mean().sqrt() for found in (sparse, dense))
    assert 0.2 < true.max() < 0.6
    assert error < 1.3 * least


def test_planted_skills_are_found_in_projected_gradients():
    """Rows of a skill have cosines near 0.25, less alike than different, yet are one cluster."""
    parts = layer_gradients(skills=6, rows=180, seed=3)
    short = sketched(parts, 1024)
    short = short / short.norm(dim=1, keepdim=True)
    same = (short @ short.T)[:6, 6:12].diagonal()
    assert 0.1 < same.mean() < 0.5
    found = KMeans(6, n_init=5, random_state=0).fit_predict(short.numpy())
    assert adjusted_rand_score(found, torch.arange(180) % 6) == 1.0
