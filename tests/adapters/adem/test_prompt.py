"""Keys, values and places of images against a slow way of writing the formulas down."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from adaptinf.adapters.adem import AdemConfig
from adaptinf.adapters.adem.families import Pictures
from adaptinf.adapters.adem.perception import places_of
from adaptinf.adapters.adem.prompt import VisualPrompt
from adaptinf.errors import UserError


def pictures(*shapes: tuple[int, int], tokens: list[int] | None = None) -> Pictures:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(5, *shape, generator=generator) for shape in shapes]
    output = SimpleNamespace(pooler_output=[torch.zeros(3, 1)] * len(maps))
    return Pictures(maps, torch.stack([m.mean((1, 2)) for m in maps]), tokens, output)


def prompt(mode: str = "replace", **options: object) -> VisualPrompt:
    torch.manual_seed(1)
    config = AdemConfig(mode=mode, down_sample_num=[4, 1], hidden_proj=3, beta=0.5, **options)
    made = VisualPrompt(5, 6, config)
    torch.nn.init.normal_(made.e2)
    return made


def text(rows: list[str]) -> Tensor:
    """Image tokens where there is an i."""
    return torch.tensor([[letter == "i" for letter in row] for row in rows])


def test_places_follow_from_the_image_tokens() -> None:
    places = places_of(text(["..iii.iii", ".........", "iii......"]), pictures(*[(2, 2)] * 3))
    assert places.counts == [2, 0, 1]
    assert places.picture.tolist() == [0, 1, 2]
    assert places.row.tolist() == [0, 0, 2]
    assert places.slot.tolist() == [0, 1, 0]
    assert places.column.tolist() == [2, 6, 0]
    # Images that touch one another, of different sizes.
    places = places_of(text([".iiiii", "iii..."]), pictures(*[(2, 2)] * 3, tokens=[2, 3, 3]))
    assert places.column.tolist() == [1, 3, 0]


def test_repeated_rows_share_their_images() -> None:
    rows = [".iiiiii", ".iiiiii", "iii....", "iii...."]
    places = places_of(text(rows), pictures(*[(2, 2)] * 3))
    assert places.counts == [2, 2, 1, 1]
    where = zip(places.row, places.slot, places.column, places.picture, strict=True)
    assert sorted(tuple(map(int, place)) for place in where) == [
        (0, 0, 1, 0),
        (0, 1, 4, 1),
        (1, 0, 1, 0),
        (1, 1, 4, 1),
        (2, 0, 0, 2),
        (3, 0, 0, 2),
    ]


def test_tokens_that_do_not_fit_the_images_are_refused() -> None:
    with pytest.raises(UserError, match=r"which row.*4 image tokens for images of 3"):
        places_of(text(["iiii"]), pictures((2, 2)))


def test_keys_and_values_equal_the_formulas() -> None:
    made, seen = prompt(drop_ratio=0.3), pictures((4, 4), (2, 6), (2, 2))
    places = places_of(text(["iii...", "......", "iiiiii"]), seen)
    result = made.shared(seen, places)
    assert result.keys.shape == result.values.shape == (3, 10, 6)
    assert result.dropped.tolist() == [1, 0, 3]
    assert result.filled.sum(1).tolist() == [5, 0, 10]
    expected = [[0], [], [1, 2]]
    for row, numbers in enumerate(expected):
        prompts = []
        for number in numbers:
            m = seen.maps[number]
            h, w = m.shape[1] // 2, m.shape[2] // 2
            quarters = [
                m[:, a * h : a * h + h, b * w : b * w + w].mean((1, 2))
                for a in (0, 1)
                for b in (0, 1)
            ]
            pooled = torch.stack([*quarters, m.mean((1, 2))])
            inner = F.silu(pooled @ made.phi[0].weight.T + made.phi[0].bias)
            prompts.append(0.5 * (inner @ made.phi[2].weight.T + made.phi[2].bias))
        n = 5 * len(numbers)
        for i, p in enumerate(prompts):
            part = slice(5 * i, 5 * i + 5)
            torch.testing.assert_close(result.keys[row, part], F.silu(p + made.e1))
            torch.testing.assert_close(result.values[row, part], p + made.e2)
        assert not result.keys[row, n:].any()
        assert not result.values[row, n:].any()


def test_the_papers_adapter_has_the_papers_size() -> None:
    """LLaMA-7B and CLIP ViT-L/14: 2.621 million and 1.319 million, without the bottlenecks."""
    made = VisualPrompt(1024, 4096, AdemConfig(mode="replace"))
    embeddings = made.e1.numel() + made.e2.numel()
    assert embeddings == 2 * 320 * 4096
    assert sum(p.numel() for p in made.parameters()) - embeddings == 2 * 659_584


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "replcae"}, "unknown mode.*replace"),
        ({"drop_ratio": 1.0}, "drop_ratio"),
        ({"down_sample_num": [256, 60]}, "square"),
        ({"down_sample_num": []}, "square"),
        ({"adapter_dim": -1}, "adapter_dim"),
        ({"hidden_proj": 0}, "hidden_proj"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        AdemConfig(**options)
