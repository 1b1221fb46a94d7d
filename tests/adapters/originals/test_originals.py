"""Originals of other projects: each layout answers after its import as its own code does."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adaptinf.adapters import load_adapter
from adaptinf.adapters.originals.files import read_tensors
from adaptinf.adapters.originals.names import pattern_of
from adaptinf.errors import UserError
from adaptinf.models.loading import ModelSource, load_model, load_processor
from adaptinf.models.preprocessing import pads_to_square
from stages.imports import Order, import_original
from tests.adapters.originals.written import (
    IMAGE,
    PATCHES,
    Original,
    train_low_rank,
    write_checkpoint,
    write_low_rank,
    write_mixture,
    write_parts,
    write_projector,
)

TEXT = [2, 20, 31, 44]
AFTER = [52, 63, 70]


class Place:
    """A folder with CLIP, Vicuna, and the base model made of them and a projector."""

    def __init__(self, root: Path, linear: bool) -> None:
        torch.manual_seed(3)
        self.root = root
        self.model = Original(linear).eval()
        self.clip, self.vicuna = write_parts(self.model, root)
        self.stage = write_projector(self.model, root / "stage", self.clip)
        self.base = root / "base"
        self.made = import_original(Order(self.stage, self.base, text=str(self.vicuna)))

    def copy(self) -> Original:
        """The same model, to be changed."""
        other = Original(self.model.linear).eval()
        other.load_state_dict(self.model.state_dict())
        return other


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("deep"), linear=False)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("single"), linear=True)


def pixels() -> Tensor:
    return torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(5))


def of_original(model: Original) -> Tensor:
    return model(torch.tensor([*TEXT, IMAGE, *AFTER]), pixels())


@torch.no_grad()
def of_import(model: nn.Module, place: Place) -> Tensor:
    """Logits of the same row, without the columns of tokens that the original has not."""
    config: Any = model.config
    ids = torch.tensor([[*TEXT, *[config.image_token_index] * PATCHES, *AFTER]])
    logits = model(input_ids=ids, attention_mask=ids.ne(-1), pixel_values=pixels()).logits[0]
    return logits[:, : len(place.model.tokenizer)]


def loaded(base: Path) -> Any:
    return load_model(ModelSource(str(base)))


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["deep", "single"])
def test_a_projector_joins_clip_and_vicuna(kind: str, request: pytest.FixtureRequest) -> None:
    place: Place = request.getfixturevalue(kind)
    assert place.made == "model"
    model = loaded(place.base)
    close(of_import(model, place), of_original(place.model))
    rows = len(model.get_input_embeddings().weight)
    assert rows % 64 == 0
    assert rows > len(place.model.tokenizer)
    processor: Any = load_processor(ModelSource(str(place.base)))
    assert pads_to_square(processor) == (kind == "deep")
    assert processor.tokenizer.convert_tokens_to_ids("<image>") == model.config.image_token_index
    person = "human" if kind == "single" else "user"
    asked = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Why?"}]}]
    assert processor.apply_chat_template([asked], add_generation_prompt=True) == [
        f"A chat between a curious {person} and an artificial intelligence assistant. "
        f"The assistant gives helpful, detailed, and polite answers to the {person}'s questions. "
        "USER: <image>\nWhy? ASSISTANT:"
    ]


def test_parts_that_are_something_else(deep: Place, tmp_path: Path) -> None:
    """A model that lacks tensors would be given random ones."""
    out, vicuna = tmp_path / "out", str(deep.vicuna)
    with pytest.raises(UserError, match=r"--vision: .*vicuna"):
        import_original(Order(deep.stage, out, vision=vicuna, text=vicuna))
    with pytest.raises(UserError, match="--text: "):
        import_original(Order(deep.stage, out, text=str(deep.base)))
    with pytest.raises(UserError, match="--text: cannot be loaded"):
        import_original(Order(deep.stage, out, text=str(tmp_path / "nowhere")))
    with pytest.raises(UserError, match=r"an adapter is imported for its base model"):
        source = write_low_rank(deep.model, {}, tmp_path / "a", "LORA", False)
        tensors = train_low_rank(deep.copy(), False)
        torch.save(
            {f"base_model.model.{k}": v for k, v in tensors.items()}, source / "adapter_model.bin"
        )
        import_original(Order(source, out))
    assert not out.exists()


def test_a_whole_checkpoint_brings_its_own_vision_tower(deep: Place, tmp_path: Path) -> None:
    other = Original().eval()
    source = write_checkpoint(other, tmp_path / "llava", deep.clip)
    assert import_original(Order(source, tmp_path / "out")) == "model"
    close(of_import(loaded(tmp_path / "out"), deep), of_original(other))
    assert (of_original(other) - of_original(deep.model)).abs().max() > 0.1


@pytest.mark.parametrize(
    ("kind", "beside"), [("LORA", False), ("DORA", False), ("DORA", True)], ids=str
)
def test_low_rank_folders(deep: Place, tmp_path: Path, kind: str, beside: bool) -> None:
    other = deep.copy()
    tensors = train_low_rank(other, dora=kind == "DORA")
    source = write_low_rank(other, tensors, tmp_path / "theirs", kind, beside)
    told = import_original(Order(source, tmp_path / "out", base=str(deep.base)))
    assert told == f"{kind.lower()} adapter"
    model = load_adapter(loaded(deep.base), tmp_path / "out").eval()
    close(of_import(model, deep), of_original(other))
    assert (of_original(other) - of_original(deep.model)).abs().max() > 0.1
    lineage = json.loads((tmp_path / "out" / "lineage.json").read_text())
    assert lineage["imported"] == "theirs"
    assert lineage["processor"]["image"]["do_pad"] is True


@pytest.mark.parametrize("conditional", [False, True], ids=["input", "input_lora_a_param"])
def test_mixlora_comes_with_its_routers(single: Place, tmp_path: Path, conditional: bool) -> None:
    other = single.copy()
    source = write_mixture(other, tmp_path / "theirs", conditional)
    order = Order(source, tmp_path / "out", str(single.base), rank=None if conditional else 2)
    assert import_original(order) == "mixlora adapter"
    model = load_adapter(loaded(single.base), tmp_path / "out").eval()
    close(of_import(model, single), of_original(other))
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["rank"], config["num_experts"], config["alpha"]) == (2, 6, 12)
    assert config["conditional_again"] is conditional


def test_mixlora_without_its_rank_or_on_another_base(
    single: Place, deep: Place, tmp_path: Path
) -> None:
    source = write_mixture(single.copy(), tmp_path / "theirs", conditional=False)
    with pytest.raises(UserError, match="how many factors"):
        import_original(Order(source, tmp_path / "out", str(single.base)))
    base = load_model(ModelSource(str(single.base)))
    base.get_input_embeddings().weight.data[5] += 1
    base.save_pretrained(tmp_path / "moved")
    load_processor(ModelSource(str(single.base))).save_pretrained(tmp_path / "moved")
    with pytest.raises(UserError, match=r"another base model: 1 tensors"):
        import_original(Order(source, tmp_path / "out", str(tmp_path / "moved"), rank=2))
    assert not (tmp_path / "out").exists()


def test_every_tensor_is_accounted_for(deep: Place, tmp_path: Path) -> None:
    other = deep.copy()
    tensors = train_low_rank(other, dora=False)
    stranger = {**tensors, "model.embed_tokens.weight": torch.zeros(4, 32)}
    source = write_low_rank(other, stranger, tmp_path / "more", "LORA", False)
    with pytest.raises(UserError, match=r"0 missing; 1 unexpected \(base_model\.model\.model\.emb"):
        import_original(Order(source, tmp_path / "out", base=str(deep.base)))
    tensors.pop("model.layers.1.mlp.up_proj.lora_B.weight")
    source = write_low_rank(other, tensors, tmp_path / "less", "LORA", False)
    with pytest.raises(UserError, match=r"1 missing .*up_proj.lora_B.weight\); 0 unexpected"):
        import_original(Order(source, tmp_path / "out", base=str(deep.base)))
    still = {
        k: v * 0 if "lora_B" in k else v for k, v in train_low_rank(deep.copy(), False).items()
    }
    source = write_low_rank(deep.model, still, tmp_path / "still", "LORA", False)
    with pytest.raises(UserError, match="changes nothing"):
        import_original(Order(source, tmp_path / "out", base=str(deep.base)))
    assert not (tmp_path / "out").exists()


def test_dora_without_lengths_is_refused(deep: Place, tmp_path: Path) -> None:
    tensors = train_low_rank(deep.copy(), dora=False)
    source = write_low_rank(deep.model, tensors, tmp_path / "theirs", "DORA", False)
    with pytest.raises(UserError, match=r"without the lengths of its rows.*0 of 14"):
        import_original(Order(source, tmp_path / "out", base=str(deep.base)))


def test_padding_has_to_be_that_of_the_training(deep: Place, tmp_path: Path) -> None:
    cropping = tmp_path / "cropping"
    import_original(Order(deep.stage, cropping, text=str(deep.vicuna), pad=False))
    other = deep.copy()
    source = write_low_rank(other, train_low_rank(other, False), tmp_path / "a", "LORA", False)
    with pytest.raises(UserError, match=r"padded to squares.*crops.*--pad"):
        import_original(Order(source, tmp_path / "out", base=str(cropping)))


class Hostile:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, ...]]:
        return os.system, (f"touch {self.file}",)


@pytest.mark.parametrize("name", ["adapter_model.bin", "non_lora_trainables.bin"])
def test_a_hostile_pickle_is_refused(deep: Place, tmp_path: Path, name: str) -> None:
    source = write_low_rank(
        deep.model, train_low_rank(deep.copy(), False), tmp_path / "a", "LORA", False
    )
    hit = tmp_path / "hit"
    torch.save({"weight": Hostile(hit)}, source / name)
    with pytest.raises(UserError, match=rf"{name}: a pickle that wants to run code.*system"):
        import_original(Order(source, tmp_path / "out", base=str(deep.base)))
    (source / name).write_bytes(pickle.dumps(Hostile(hit), protocol=2))
    with pytest.raises(UserError, match="wants to run code"):
        import_original(Order(source, tmp_path / "out", base=str(deep.base)))
    assert not hit.exists()


def test_files_that_hold_something_else(deep: Place, tmp_path: Path) -> None:
    newer = pickle.dumps(Hostile(tmp_path / "hit"))
    for content in (b"", b"no tensors", b"\x80\x02]q\x00.", newer):
        file = tmp_path / "a.bin"
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"cannot be read|not tensors"):
            read_tensors(file)
        assert not (tmp_path / "hit").exists()
    index = {"weight_map": {"a": "../../secret.bin"}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="not the index of a checkpoint"):
        import_original(Order(tmp_path, tmp_path / "out"))
    with pytest.raises(UserError, match="none of the layouts"):
        import_original(Order(deep.vicuna.parent, tmp_path / "out"))


def test_patterns_name_their_modules_and_no_others() -> None:
    even = [f"m.layers.{n}.{leaf}" for n in (0, 1) for leaf in ("a.q_proj", "b.up")]
    assert pattern_of(even) == r"m\.layers\.(0|1)\.(a\.q_proj|b\.up)"
    assert pattern_of(even[:3]) == "|".join(name.replace(".", r"\.") for name in even[:3])
