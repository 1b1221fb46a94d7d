"""Tiny models as LLaVA's code has them, written in its layouts, with forward passes of their own.

Nothing of ``adaptinf`` is used here: what it makes of the files is compared with this.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

from tests.families.processors import tiny_tokenizer

IMAGE = -200
WIDTH, SEEING, PATCHES = 32, 24, 16
LEAVES = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)


class Original(nn.Module):
    """CLIP, a projector and a Llama, joined by splicing features into the embeddings."""

    def __init__(self, linear: bool = False) -> None:
        super().__init__()
        self.clip = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=SEEING,
                intermediate_size=32,
                num_hidden_layers=3,
                num_attention_heads=2,
                image_size=32,
                patch_size=8,
                projection_dim=16,
            )
        )
        self.tokenizer = tiny_tokenizer()
        self.llama = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(self.tokenizer),
                hidden_size=WIDTH,
                intermediate_size=48,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=256,
                bos_token_id=2,
                eos_token_id=1,
                pad_token_id=0,
            )
        )
        self.linear = linear
        single = nn.Linear(SEEING, WIDTH)
        deep = nn.Sequential(nn.Linear(SEEING, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        self.projector = single if linear else deep
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.15)

    @torch.no_grad()
    def forward(self, ids: Tensor, pixels: Tensor) -> Tensor:
        """Logits of one row, whose ``IMAGE`` becomes the patches before CLIP's last block."""
        states = self.clip(pixels, output_hidden_states=True).hidden_states[-2]
        seen = self.projector(states[:, 1:])[0]
        place = int((ids == IMAGE).nonzero())
        embed = self.llama.get_input_embeddings()
        row = torch.cat([embed(ids[:place]), seen, embed(ids[place + 1 :])])
        return self.llama(inputs_embeds=row[None]).logits[0]

    def projector_state(self, prefix: str = "model.") -> dict[str, Tensor]:
        return {
            f"{prefix}mm_projector.{key}": value.clone()
            for key, value in self.projector.state_dict().items()
        }

    def state(self, tower: bool = False) -> dict[str, Tensor]:
        """The state dict of ``LlavaLlamaForCausalLM``, with the buffers that old ones have."""
        state = {key: value.clone() for key, value in self.llama.state_dict().items()}
        state["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
        if tower:
            prefix = "model.vision_tower.vision_tower.vision_model."
            state |= {prefix + k: v.clone() for k, v in self.clip.state_dict().items()}
            state[f"{prefix}embeddings.position_ids"] = torch.arange(17)[None]
        return state | self.projector_state()

    def told(self, clip: Path, **more: Any) -> dict[str, Any]:
        """LLaVA's ``config.json``."""
        llama = self.llama.config.to_dict()
        return llama | {
            "model_type": "llava",
            "architectures": ["LlavaLlamaForCausalLM"],
            "mm_vision_tower": str(clip),
            "mm_vision_select_layer": -2,
            "mm_vision_select_feature": "patch",
            "mm_projector_type": "linear" if self.linear else "mlp2x_gelu",
            "mm_use_im_start_end": False,
            "image_aspect_ratio": "square" if self.linear else "pad",
            **more,
        }


def write_parts(model: Original, root: Path) -> tuple[Path, Path]:
    """CLIP and Vicuna as the hub has them."""
    clip, vicuna = root / "clip", root / "vicuna"
    model.clip.save_pretrained(clip)
    model.llama.save_pretrained(vicuna)
    model.tokenizer.save_pretrained(vicuna)
    return clip, vicuna


def write_projector(model: Original, folder: Path, clip: Path) -> Path:
    """LLaVA's first stage."""
    folder.mkdir()
    torch.save(model.projector_state(), folder / "mm_projector.bin")
    (folder / "config.json").write_text(json.dumps(model.told(clip)))
    return folder


def write_checkpoint(model: Original, folder: Path, clip: Path, **more: Any) -> Path:
    """A whole LLaVA in two shards, with its tokenizer."""
    folder.mkdir()
    state = model.state(tower=True)
    names = sorted(state)
    parts = {"pytorch_model-1.bin": names[::2], "pytorch_model-2.bin": names[1::2]}
    for part, keys in parts.items():
        torch.save({key: state[key] for key in keys}, folder / part)
    places = {key: part for part, keys in parts.items() for key in keys}
    index = json.dumps({"weight_map": places})
    (folder / "pytorch_model.bin.index.json").write_text(index)
    (folder / "config.json").write_text(json.dumps(model.told(clip, **more)))
    model.tokenizer.save_pretrained(folder)
    return folder


def linears(model: Original) -> dict[str, nn.Linear]:
    """The linear modules of the text layers by their names in LLaVA's code."""
    return {
        f"model.layers.{number}.{leaf}": layer.get_submodule(leaf)
        for number, layer in enumerate(model.llama.model.layers)
        for leaf in LEAVES
    }


@torch.no_grad()
def train_low_rank(model: Original, dora: bool, r: int = 4, alpha: int = 8) -> dict[str, Tensor]:
    """Change the model as a trained adapter does, by hand; returns the adapter's tensors.

    LoRA: ``W + s B A``. DoRA: the rows of that at lengths ``m``.
    """
    tensors = {}
    for name, linear in linears(model).items():
        a = 0.2 * torch.randn(r, linear.in_features)
        b = 0.2 * torch.randn(linear.out_features, r)
        changed = linear.weight + alpha / r * b @ a
        tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"] = a, b
        if dora:
            m = linear.weight.norm(dim=1) * (1 + 0.2 * torch.rand(linear.out_features))
            changed = changed / changed.norm(dim=1, keepdim=True) * m[:, None]
            tensors[f"{name}.weight_m_wdecomp.weight"] = m[:, None]
        linear.weight.copy_(changed)
    for parameter in model.projector.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape))
    return tensors


def write_low_rank(
    model: Original, tensors: dict[str, Tensor], folder: Path, kind: str, lengths_beside: bool
) -> Path:
    """A folder of LLaVA's LoRA trainer, or of DoRA's."""
    folder.mkdir()
    inside = {f"base_model.model.{key}": value for key, value in tensors.items()}
    beside = {f"base_model.model.{k}": v for k, v in model.projector_state().items()}
    if lengths_beside:
        for key in [key for key in inside if "wdecomp" in key]:
            beside[key.replace("wdecomp.", "wdecomp.default.")] = inside.pop(key)
    torch.save(inside, folder / "adapter_model.bin")
    torch.save(beside, folder / "non_lora_trainables.bin")
    config = {
        "peft_type": kind,
        "r": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.05,
        "bias": "none",
        "fan_in_fan_out": False,
        "target_modules": sorted({leaf.split(".")[1] for leaf in LEAVES}),
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "lmsys/vicuna-7b-v1.5",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text(json.dumps(model.told(Path("clip"))))
    return folder


class MixedLinear(nn.Module):
    """MixLoRA's linear layer, after its paper and its code; every step in the plainest way."""

    def __init__(self, base: nn.Linear, experts: int, rank: int, conditional: bool) -> None:
        super().__init__()
        self.base, self.rank, self.conditional = base, rank, conditional
        self.scaling = 2 * experts / rank
        draw = lambda *shape: nn.Parameter(torch.randn(shape) / math.sqrt(shape[-1]))  # noqa: E731
        self.a = nn.ParameterList([draw(1, base.in_features) for _ in range(experts)])
        self.b = nn.ParameterList([0.1 * draw(1, base.out_features) for _ in range(experts)])
        self.choose_a = draw(experts, base.in_features)
        self.choose_b = draw(experts, base.in_features)
        self.by_factor = draw(experts, rank * base.in_features) if conditional else None

    def forward(self, x: Tensor) -> Tensor:
        rows = []
        for row in x:
            mean = row.mean(0)
            first = (self.choose_a @ mean).topk(self.rank).indices.tolist()
            scores = (self.choose_b @ mean).softmax(0)
            if self.by_factor is not None:
                total = torch.zeros(len(self.a))
                for place, number in enumerate(first):
                    width = len(mean)
                    part = self.by_factor[:, place * width : (place + 1) * width]
                    total = total + (part @ self.a[number][0]).softmax(0)
                scores = scores + total.softmax(0)
            second = scores.topk(self.rank).indices.tolist()
            update = sum(
                torch.outer(self.a[i][0], self.b[j][0]) for i, j in zip(first, second, strict=True)
            )
            rows.append(self.base(row) + self.scaling * row @ update)
        return torch.stack(rows)

    def state(self, name: str) -> dict[str, Tensor]:
        """Its tensors as the authors' code names them."""
        state = {f"{name}.weight": self.base.weight}
        state |= {f"{name}.lora_A.default.{i}": p for i, p in enumerate(self.a)}
        state |= {f"{name}.lora_B.default.{i}": p for i, p in enumerate(self.b)}
        state[f"{name}.cmoa_selector.loraA_selector.weight"] = self.choose_a
        if self.by_factor is None:
            state[f"{name}.cmoa_selector.loraB_selector.weight"] = self.choose_b
        else:
            extra = f"{name}.cmoa_loarB_extra_selector"
            state[f"{extra}.loraB_selector.weight"] = self.choose_b
            state[f"{extra}.loraA_param2loraB_selector.weight"] = self.by_factor
        return state


@torch.no_grad()
def write_mixture(model: Original, folder: Path, conditional: bool) -> Path:
    """Turn the model into MixLoRA's, and write what its code publishes."""
    folder.mkdir()
    state = {f"base_model.model.{k}": v for k, v in model.state(tower=True).items()}
    for number, layer in enumerate(model.llama.model.layers):
        for leaf in LEAVES:
            parent, _, end = leaf.partition(".")
            mixed = MixedLinear(layer.get_submodule(leaf), 6, 2, conditional)
            name = f"base_model.model.model.layers.{number}.{leaf}"
            state |= {key: value.detach().clone() for key, value in mixed.state(name).items()}
            setattr(layer.get_submodule(parent), end, mixed)
    for parameter in model.projector.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape))
    state |= {f"base_model.model.{k}": v for k, v in model.projector_state().items()}
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(model.told(Path("clip"))))
    return folder
