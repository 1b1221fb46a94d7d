"""Saved in PEFT's format: another process loads the same bits, once it has our import."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from adaptinf.adapters.attachment import load_adapter
from tests.families import FAMILIES

Make = Callable[..., Any]

ELSEWHERE = """
import sys, warnings
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import LlavaForConditionalGeneration

# Missing keys are a warning of PEFT.
warnings.simplefilter("error", UserWarning)
folder = sys.argv[1]
base = LlavaForConditionalGeneration.from_pretrained(folder + "/base")
try:
    PeftModel.from_pretrained(base, folder + "/add")
    raise SystemExit("stock PEFT should not know the type")
except KeyError as error:
    print(error)
import adaptinf.adapters.adem
batch = load_file(folder + "/batch.safetensors")
model = PeftModel.from_pretrained(base, folder + "/add", "add").eval()
result = model.load_adapter(folder + "/replace", "replace")
assert not result.unexpected_keys and not [k for k in result.missing_keys if "adem" in k], result
outputs = {}
with torch.no_grad():
    for name in ("add", "replace"):
        model.set_adapter(name)
        outputs[name] = model(**batch).logits
save_file(outputs, folder + "/outputs.safetensors")
"""


def test_another_process_loads_the_same_bits(make: Make, make_rows: Make, tmp_path: Path) -> None:
    batch = FAMILIES["llava"].batch(make_rows("llava"))
    save_file(batch, tmp_path / "batch.safetensors")
    FAMILIES["llava"].build().save_pretrained(tmp_path / "base")
    expected = {}
    for mode in ("add", "replace"):
        # The fixture's own beta is in no file.
        model = make("llava", mode, beta=1.0)
        with torch.no_grad():
            expected[mode] = model(**batch).logits
        model.save_pretrained(tmp_path / mode, save_embedding_layers=False)
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "'ADEM'"
    outputs = load_file(tmp_path / "outputs.safetensors")
    for name, logits in expected.items():
        assert torch.equal(outputs[name], logits), name


def test_the_folder_is_in_pefts_format(make: Make, tmp_path: Path) -> None:
    make("llava", "replace").save_pretrained(tmp_path, save_embedding_layers=False)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["peft_type"] == "ADEM"
    assert config["load_with"] == "import adaptinf.adapters.adem"
    assert (config["mode"], config["alpha"], config["drop_ratio"]) == ("replace", 0.1, 0.1)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    place = "base_model.model.model.language_model.layers.0.mlp.adem_prompt."
    shapes = {k.removeprefix(place): list(v.shape) for k, v in tensors.items()}
    block = "base_model.model.model.vision_tower.encoder.layers.0.mlp.adem_bottleneck."
    phi = {"0.weight": [8, 32], "0.bias": [8], "2.weight": [48, 8], "2.bias": [48]}
    assert shapes == {
        "e1": [20, 48],
        "e2": [20, 48],
        **{f"{name}.{key}": shape for name in ("phi", "cls_phi") for key, shape in phi.items()},
        f"{block}down.weight": [4, 32],
        f"{block}up.weight": [32, 4],
    }
    # The check of this project: every tensor finds its place.
    loaded = load_adapter(FAMILIES["llava"].build(), tmp_path)
    assert not any(p.requires_grad for p in loaded.parameters())
    again = load_adapter(FAMILIES["llava"].build(), tmp_path, trainable=True)
    assert sum(p.requires_grad for p in again.parameters()) == len(tensors)
