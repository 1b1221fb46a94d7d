"""Tiny models of many families with ADEM on them, and batches with images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from torch import Tensor

from adaptinf.adapters.adem import AdemConfig
from tests.families import FAMILIES, Row, Shape

SMALL = {"down_sample_num": [16, 4], "hidden_proj": 8, "adapter_dim": 4}


def _adapted(family: str, mode: str, *, fresh: bool = False, **options: Any) -> PeftModel:
    """An adapted model; what is zero in a fresh adapter is drawn unless ``fresh``."""
    base = FAMILIES[family].build()
    torch.manual_seed(1)
    model = get_peft_model(base, AdemConfig(mode=mode, **(SMALL | options))).eval()
    return model if fresh else _draw(model)


def _draw(model: PeftModel, seed: int = 2) -> PeftModel:
    """Weights that make themselves felt in the logits."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and "adem_" in name:
                parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    for module in model.modules():
        if hasattr(module, "beta"):
            module.beta = 1.0
    return model


@torch.no_grad()
def _logits(model: Any, batch: dict[str, Tensor]) -> Tensor:
    return model(**batch).logits


@pytest.fixture(scope="session")
def make() -> Callable[..., PeftModel]:
    return _adapted


@pytest.fixture(scope="session")
def logits() -> Callable[..., Tensor]:
    return _logits


@pytest.fixture(scope="session")
def make_rows() -> Callable[[str], list[Row]]:
    """Text alone, one image, two images, text alone; all of different length, with answers."""
    shapes = [Shape(6, 4, 0), Shape(5, 7, 1), Shape(9, 2, 2), Shape(13, 3, 0)]
    return lambda family: FAMILIES[family].rows(shapes, seed=3)
