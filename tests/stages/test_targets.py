"""Adapters for servers: what is refused, and folders that stock libraries load by themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from adaptinf.adapters import load_adapter
from adaptinf.errors import UserError
from adaptinf.models.loading import ModelSource, load_model, load_processor
from adaptinf.models.preprocessing import preprocessing
from stages.exports import merge_adapter, question
from stages.targets import adapter_folder, export_for
from tests.stages.test_exports import saved, tiny

UNEVEN = [{"part": "text", "layers": "0-1"}, {"part": "text", "layers": "2-3", "r": 6, "alpha": 9}]

STOCK = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("adaptinf", "selection", "stages", "config"):
            raise ImportError(name)

sys.meta_path.insert(0, Hidden())
try:
    import adaptinf
except ImportError:
    pass
else:
    raise SystemExit("the project is not hidden")

import json
from pathlib import Path
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor

base, root = sys.argv[1], Path(sys.argv[2])
batch = load_file(root / "batch.safetensors")
said = {}
for folder in sys.argv[3:]:
    out = root / folder
    if (out / "adapter_config.json").is_file():
        model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
        model = PeftModel.from_pretrained(model, str(out))
        AutoProcessor.from_pretrained(out / "processor")
    else:
        model = AutoModelForImageTextToText.from_pretrained(out, dtype=torch.float32)
        AutoProcessor.from_pretrained(out)
    with torch.no_grad():
        said[folder] = model.eval()(**batch).logits
save_file(said, root / "said.safetensors")
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Steps whose adapters are of every kind."""
    from adaptinf.routes import Placement

    root = tmp_path_factory.mktemp("run")
    uneven = [Placement(**place) for place in UNEVEN]
    saved(root, "1-lora", tiny())
    saved(root, "2-uneven", tiny(), placement=uneven)
    saved(root, "3-dora", tiny(), route="dora", placement="dora-llava")
    saved(root, "4-conlora", tiny(), route="conlora")
    saved(root, "5-full", tiny(), route="full")
    saved(root, "6-mixlora", tiny(), route="mixlora", r=2, num_experts=4)
    saved(root, "7-adem", tiny(), route="adem", down_sample_num=(4, 1))
    for step in ("1-lora", "2-uneven"):
        (root / "steps" / step / "train" / "DONE").write_text("{}")
    return root


def batch() -> dict[str, Tensor]:
    return question(ModelSource("tiny"), tiny())


@torch.no_grad()
def logits(model: nn.Module) -> Tensor:
    return model(**batch()).logits


def step(run: Path, name: str) -> Path:
    return run / "steps" / name


def test_stock_libraries_load_every_folder_and_answer_alike(run: Path, tmp_path: Path) -> None:
    """In a process that cannot import this project."""
    wanted = {
        "lora for peft": ("1-lora", "peft"),
        "uneven for peft": ("2-uneven", "peft"),
        "uneven for vllm": ("2-uneven", "vllm"),
        "dora for peft": ("3-dora", "peft"),
        "dora merged": ("3-dora", "merged"),
        "full for peft": ("5-full", "peft"),
    }
    for name, (which, target) in wanted.items():
        export_for(step(run, which), target, tmp_path / name)
    save_file(batch(), tmp_path / "batch.safetensors")
    base = ModelSource("tiny").path
    command = [sys.executable, "-c", STOCK, base, str(tmp_path), *wanted]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    said = load_file(tmp_path / "said.safetensors")
    for name, (which, target) in wanted.items():
        folder = step(run, which) / "train" / "adapter"
        own = logits(load_adapter(tiny(), folder).eval())
        bound = 1e-4 if target == "merged" else 1e-5
        torch.testing.assert_close(said[name], own, rtol=1e-5, atol=bound, msg=name)
        assert (own - logits(tiny())).abs().max() > 0.05


def test_for_vllm_there_is_one_rank_and_one_scale(run: Path, tmp_path: Path) -> None:
    written = export_for(step(run, "2-uneven"), "vllm", tmp_path / "out")
    told = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (told["r"], told["rank_pattern"], told["alpha_pattern"]) == (6, {}, {})
    ranks = {
        tensor.shape[0 if ".lora_A." in key else 1]
        for key, tensor in load_file(tmp_path / "out" / "adapter_model.safetensors").items()
    }
    assert ranks == {6}
    assert "--max-lora-rank 8 " in written.notes[0]


@pytest.mark.parametrize(
    ("which", "target", "told"),
    [
        ("3-dora", "vllm", r"no adapter of route dora.*merged is exact.*--for lora"),
        ("4-conlora", "vllm", r"text layers alone.*vision, connector.*--for merged"),
        ("5-full", "vllm", r"no adapter of route full.*--for merged"),
        ("6-mixlora", "vllm", r"no adapter of route mixlora.*--for lora writes the mean route"),
        ("7-adem", "vllm", r"no adapter of route adem.*chat RUN --api"),
        ("6-mixlora", "peft", r"knows no such adapter.*--for lora"),
        ("7-adem", "peft", r"knows no such adapter.*chat RUN --api"),
        ("7-adem", "merged", r"cannot be merged"),
        ("7-adem", "lora", r"cannot be written as LoRA"),
        ("1-lora", "ollama", r"unknown target"),
    ],
)
def test_what_a_target_cannot_serve_is_refused(
    run: Path, tmp_path: Path, which: str, target: str, told: str
) -> None:
    with pytest.raises(UserError, match=told):
        export_for(step(run, which), target, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_modules_to_save_and_high_ranks_are_not_for_vllm(run: Path, tmp_path: Path) -> None:
    from adaptinf.routes import Placement

    both = [Placement("text"), Placement("connector", r="full")]
    folder = saved(tmp_path, "1-both", tiny(), placement=both)
    with pytest.raises(UserError, match=r"text layers alone.*connector.*merged"):
        export_for(folder, "vllm", tmp_path / "out")
    high = saved(tmp_path, "2-high", tiny(), r=520)
    with pytest.raises(UserError, match=r"up to rank 512.*520.*merged"):
        export_for(high, "vllm", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_adapter_above_merged_ones_goes_merged_or_not_at_all(tmp_path: Path) -> None:
    folder = saved(tmp_path, "2-shop", tiny(), merged=("1-first",))
    for target in ("peft", "vllm", "lora"):
        with pytest.raises(UserError, match=r"earlier adapters in its weights.*--for merged"):
            export_for(folder, target, tmp_path / "out")


def test_a_run_means_its_newest_step_and_a_base_can_be_named(run: Path, tmp_path: Path) -> None:
    assert adapter_folder(run) == step(run, "2-uneven") / "train" / "adapter"
    export_for(step(run, "1-lora"), "peft", tmp_path / "out", base=ModelSource("tiny").path)
    told = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert told["base_model_name_or_path"] == ModelSource("tiny").path
    with pytest.raises(UserError, match="no trained adapter here"):
        adapter_folder(tmp_path)


def changed_base(folder: Path, **image: Any) -> Path:
    """The tiny model behind another image processor."""
    load_model(ModelSource("tiny")).save_pretrained(folder)
    processor: Any = load_processor(ModelSource("tiny"))
    for key, value in image.items():
        setattr(processor.image_processor, key, value)
    processor.save_pretrained(folder)
    return folder


def test_another_processor_than_that_of_the_training_is_told(run: Path, tmp_path: Path) -> None:
    folder = saved(tmp_path, "1-shop", tiny())
    told = json.loads((folder / "lineage.json").read_text())
    told["processor"] = preprocessing(load_processor(ModelSource("tiny")))
    (folder / "lineage.json").write_text(json.dumps(told))
    export_for(folder, "peft", tmp_path / "same")
    other = changed_base(tmp_path / "base", do_center_crop=False)
    for target in ("peft", "merged"):
        with pytest.raises(UserError, match=r"image\.do_center_crop true, now false"):
            export_for(folder, target, tmp_path / "out", base=str(other))
    assert not (tmp_path / "out").exists()


def test_merging_tells_what_rounding_costs(run: Path, tmp_path: Path) -> None:
    folder = step(run, "1-lora") / "train" / "adapter"
    assert merge_adapter(folder, tmp_path / "out", dtype="float32") < 1e-4
    assert merge_adapter(folder, tmp_path / "less", dtype="bfloat16") > 1e-3
