from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from adaptinf.adapters.mixlora import freeze_route
from adaptinf.adapters.mixlora.freezing import _UPDATES
from adaptinf.adapters.mixlora.statistics import placed_mixtures
from adaptinf.errors import UserError

Make = Callable[..., Any]


@torch.no_grad()
def logits(model: Any, batch: dict[str, Tensor]) -> Tensor:
    return model(**batch).logits


@pytest.mark.parametrize(("how", "rank"), [("mean", 6), ("majority", 2)])
def test_one_row_freezes_exactly_into_a_stock_lora(
    make_adapted: Make, make_base: Make, collate: Make, rows: list[Any], tmp_path: Path,
    how: str, rank: int,
) -> None:  # fmt: skip
    model, batch = make_adapted(routing="input_lora_a_param"), collate(rows[1:2])
    model.train()
    frozen = freeze_route(model, tmp_path, [batch], how=how)
    assert model.training
    assert (frozen.how, frozen.rank, frozen.rows) == (how, rank, 1)
    assert frozen.error < 1e-5
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"]) == ("LORA", rank)
    stock = PeftModel.from_pretrained(make_base(), str(tmp_path)).eval()
    torch.testing.assert_close(
        logits(stock, batch), logits(model.eval(), batch), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("how", ["mean", "majority"])
def test_the_stated_error_is_that_of_the_folder(
    make_adapted: Make, make_base: Make, collate: Make, rows: list[Any], tmp_path: Path, how: str
) -> None:
    model = make_adapted().eval()
    batches = [collate(rows[:3], "right"), collate(rows[3:])]
    frozen = freeze_route(model, tmp_path, batches, how=how)
    stock = PeftModel.from_pretrained(make_base(), str(tmp_path)).eval()
    off = whole = 0.0
    for batch in batches:
        kept = batch["attention_mask"].bool()
        mixed, base = logits(model, batch)[kept], logits(make_base(), batch)[kept]
        off += float((mixed - logits(stock, batch)[kept]).square().sum())
        whole += float((mixed - base).square().sum())
    assert frozen.error == pytest.approx((off / whole) ** 0.5, rel=1e-4)
    assert frozen.error > 0.01
    assert json.loads((tmp_path / "frozen_route.json").read_text())["error"] == frozen.error


def test_the_mean_update_is_the_mean_of_the_rows_updates(
    make_adapted: Make, collate: Make, rows: list[Any]
) -> None:
    model = make_adapted()
    logits(model, collate(rows))
    placed = next(placed_mixtures(model))
    choice = placed.layer.routing.last.choices[placed.mixture]
    with torch.no_grad():
        frozen = _UPDATES["mean"](placed.mixture, choice)
        a, b = placed.mixture.pool_a[choice.a], placed.mixture.pool_b[choice.b]
        expected = torch.stack([b[i].T @ a[i] for i in range(len(rows))]).mean(0)
        torch.testing.assert_close(frozen.b @ frozen.a, expected)


def test_modules_trained_whole_are_exported_too(
    make_adapted: Make, make_base: Make, collate: Make, rows: list[Any], tmp_path: Path
) -> None:
    model, batch = make_adapted(modules_to_save=["multi_modal_projector"]), collate(rows[1:2])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "modules_to_save" in name:
                parameter.mul_(1.5)
    expected = logits(model, batch)
    freeze_route(model, tmp_path, [batch])
    stock = PeftModel.from_pretrained(make_base(), str(tmp_path))
    torch.testing.assert_close(logits(stock, batch), expected, rtol=1e-4, atol=1e-4)


def test_mistakes_are_told(make_adapted: Make, make_base: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="known: majority, mean"):
        freeze_route(make_adapted(), tmp_path, [], how="xyz")
    with pytest.raises(UserError, match="no active MixLoRA adapter, or no rows"):
        freeze_route(make_adapted(), tmp_path, [])
