from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from adaptinf.errors import UserError
from adaptinf.models.loading import (
    ModelSource,
    load_config,
    load_model,
    load_processor,
    model_fingerprint,
)

TINY = Path(ModelSource("tiny").path)


def test_shipped_model_is_what_its_manifest_says() -> None:
    manifest = json.loads((TINY / "manifest.json").read_text())
    assert (TINY / "model.safetensors").stat().st_size <= 3_000_000
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256((TINY / name).read_bytes()).hexdigest() == digest, name
    model = load_model(ModelSource("tiny"))
    assert sum(p.numel() for p in model.parameters()) == manifest["parameters"]


def test_tiny_computes_in_single_precision_and_others_as_told() -> None:
    assert load_model(ModelSource("tiny")).dtype == torch.float32
    assert load_model(ModelSource("tiny", dtype="bfloat16")).dtype == torch.bfloat16
    assert load_model(ModelSource(str(TINY))).dtype == torch.float16
    assert not load_model(ModelSource("tiny")).training


def test_fingerprint_follows_weights_and_number_type_not_the_place(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(TINY, copy)
    assert model_fingerprint(ModelSource(str(copy))) == model_fingerprint(ModelSource(str(TINY)))
    assert model_fingerprint(ModelSource(str(copy), dtype="float32")) == model_fingerprint(
        ModelSource("tiny")
    )
    before = model_fingerprint(ModelSource(str(copy)))
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert model_fingerprint(ModelSource(str(copy))) != before


def test_what_cannot_be_loaded_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model.name: the model cannot be loaded.*give 'tiny'"):
        load_config(ModelSource(str(tmp_path)))


def test_processor_without_chat_template_is_refused(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(TINY, copy)
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="no chat template"):
        load_processor(ModelSource(str(copy)))
