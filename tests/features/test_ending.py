from __future__ import annotations

import pytest
import torch
from torch import nn

from adaptinf.features import FeatureExtractor
from adaptinf.features.ending import Ending
from adaptinf.models.parts import text_layers
from tests.features.conftest import IMAGE_TOKEN


def heard_widths(model, extractor, batch):
    """Tokens that went into the last layer's queries, attention output and feed-forward part."""
    last, heard = text_layers(model)[-1], []
    parts = last.self_attn.q_proj, last.self_attn.o_proj, last.mlp.down_proj
    # A hook on the wrapped module is called with what the parts' own hooks have made.
    handles = [
        part.base_layer.register_forward_pre_hook(
            lambda _, args: heard.append(args[0].shape[:-1].numel())
        )
        for part in parts
    ]
    extractor(batch)
    for handle in handles:
        handle.remove()
    return heard


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_last_layer_ends_on_the_answers_alone(llava, rows, collate, side):
    batch = collate(rows, side)
    answers = int((batch["labels"][:, 1:] != -100).sum())
    extractor = FeatureExtractor(llava, 1, grounding=None)
    assert heard_widths(llava, extractor, batch) == [answers] * 3


@pytest.mark.parametrize("way", ["blank", "drop"])
def test_the_pass_without_images_ends_on_the_answers_too(llava, rows, collate, way):
    batch = collate([row for row in rows if len(row.pixels)])
    every, answers = batch["labels"].numel(), int((batch["labels"][:, 1:] != -100).sum())
    heard = heard_widths(llava, FeatureExtractor(llava, "last", grounding=way), batch)
    assert heard == [every] * 3 + [answers] * 3


def test_only_a_beginning_that_rows_share_runs_in_full(llava, rows, collate):
    row = next(row for row in rows if len(row.pixels) == 1)
    batch = collate([row, row])
    answers = int((batch["labels"][:, 1:] != -100).sum())
    start = int((row.input_ids == IMAGE_TOKEN).nonzero().max()) + 1
    heard = heard_widths(llava, FeatureExtractor(llava, 1), batch)
    assert heard == [answers] * 3 + [start] * 3 + [answers] * 3


def test_a_tapped_last_layer_and_a_batch_without_answers_are_left_alone(llava, rows, collate):
    batch = collate(rows)
    every = batch["labels"].numel()
    last = FeatureExtractor(llava, "last", grounding=None)
    assert heard_widths(llava, last, batch) == [every] * 3
    silent = {**batch, "labels": torch.full_like(batch["labels"], -100)}
    assert heard_widths(llava, FeatureExtractor(llava, 1, grounding=None), silent) == [every] * 3


class Layer(nn.Module):
    def __init__(self, mlp: nn.Module) -> None:
        super().__init__()
        self.mlp = mlp


def test_parts_are_computed_where_read_and_zero_elsewhere():
    mlp = nn.Linear(3, 3)
    read = torch.tensor([[True, False, True, False], [False, False, False, True]])
    x = torch.randn(2, 4, 3)
    with Ending(nn.ModuleList([nn.Identity(), Layer(mlp)]), 0).only_at(read):
        inside = mlp(x)
        other = mlp(x[:, :2])
    torch.testing.assert_close(inside[read], mlp(x)[read])
    assert not inside[~read].any()
    torch.testing.assert_close(other, mlp(x[:, :2]))
    torch.testing.assert_close(mlp(x)[~read], nn.functional.linear(x, mlp.weight, mlp.bias)[~read])


def test_experts_are_left_alone():
    mlp = nn.Linear(3, 3)
    mlp.experts = nn.ModuleList([nn.Linear(3, 3)])
    x = torch.randn(1, 4, 3)
    with Ending(nn.ModuleList([nn.Identity(), Layer(mlp)]), 0).only_at(torch.eye(4)[:1] > 0):
        torch.testing.assert_close(mlp(x), nn.functional.linear(x, mlp.weight, mlp.bias))
