"""LLaVA's own checkpoints, whole or as a projector between CLIP and Vicuna, as Transformers' LLaVA.

What LLaVA's code keeps apart is put into one model and one processor: the image gets a token of
its own in the vocabulary, and the processor the padding and the conversation that the model was
trained with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    CLIPImageProcessorPil,
    CLIPVisionModel,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaImageProcessorPil,
    LlavaProcessor,
    PreTrainedModel,
    ProcessorMixin,
)

from adaptinf.adapters.originals.files import (
    holds_weights,
    require_same,
)
from adaptinf.adapters.originals.names import (
    is_projector,
    of_transformers,
    projector_of,
    unwrapped,
)
from adaptinf.errors import UserError
from adaptinf.files import read_object

PROJECTOR_FILE = "mm_projector.bin"
IMAGE_TOKEN, PAD_TOKEN = "<image>", "<pad>"

_MULTIPLE = 64
_SYSTEM = (
    "A chat between a curious {person} and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the {person}'s questions."
)
_TEMPLATE = (
    "SYSTEM {% for message in messages %}{% if message['role'] == 'user' %}USER: "
    "{% else %}ASSISTANT: {% endif %}{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>\n' }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% if message['role'] == 'user' %} {% else %}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the parts come from.

    ``vision``: a CLIP, by default the one that the configuration names. ``text``: a Vicuna, needed
    where there is a projector alone, otherwise for its tokenizer. ``pad``: whether images are
    padded to squares; None: as the configuration says.
    """

    original: Path
    vision: str | None = None
    text: str | None = None
    pad: bool | None = None

    @property
    def folder(self) -> Path:
        """The folder of a checkpoint, or the one that a projector's file is in."""
        return self.original if self.original.is_dir() else self.original.parent


def is_projector_alone(source: Path) -> bool:
    """Whether it is LLaVA's first stage: a projector, without the models that it joins."""
    if source.is_file():
        return source.suffix in (".bin", ".safetensors")
    return (source / PROJECTOR_FILE).is_file() and not holds_weights(source)


def assemble(
    sources: Sources, original: Mapping[str, Tensor]
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """The model made of ``original`` tensors, CLIP and perhaps Vicuna, and its processor.

    Rows that the vocabulary gets beyond its own are the mean of those.

    Raises:
        UserError: a part that is missing or of another kind, or tensors that have no place.
    """
    told = read_object(sources.folder / "config.json")
    _require_known(told, sources)
    tensors = {unwrapped(key): value for key, value in original.items()}
    projector = projector_of(tensors, str(sources.original))
    tower = _tower(told, sources)
    tokenizer = _tokenizer(sources)
    state, text = _text(tensors, told, sources)
    size = _grow(state, tokenizer)
    text.vocab_size = size
    config = LlavaConfig(
        vision_config=tower.config,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        image_seq_length=(tower.config.image_size // tower.config.patch_size) ** 2,
        projector_hidden_act=projector.activation,
        vision_feature_layer=int(told.get("mm_vision_select_layer", -2)),
        vision_feature_select_strategy=_strategy(told, sources),
        tie_word_embeddings=False,
    )
    seeing = {f"model.vision_tower.{key}": value for key, value in tower.state_dict().items()}
    state = {**seeing, **state, **projector.tensors}
    model = _model(config, state, text, tokenizer, str(sources.original))
    return model, _processor(tokenizer, config, told, sources)


def pads(told: Mapping[str, Any]) -> bool | None:
    """Whether LLaVA's configuration has images padded to squares; None where it does not say."""
    aspect = told.get("image_aspect_ratio")
    return None if aspect is None else aspect == "pad"


def _require_known(told: Mapping[str, Any], sources: Sources) -> None:
    where = str(sources.folder / "config.json")
    if told.get("mm_use_im_start_end"):
        raise UserError("image tokens with a start and an end are not known here", where=where)
    if told.get("image_aspect_ratio") not in (None, "pad", "square"):
        raise UserError(
            "images in another way than padded or cropped",
            where=f"{where}: image_aspect_ratio",
            seen=told["image_aspect_ratio"],
            hint="LLaVA-NeXT is on the hub in Transformers' layout",
        )
    kind = str(told.get("model_type", "llava"))
    if kind not in ("llava", "llava_llama", "llama", "llava_cmoa"):
        raise UserError("a text model other than Llama", where=f"{where}: model_type", seen=kind)


def _strategy(told: Mapping[str, Any], sources: Sources) -> str:
    chosen = told.get("mm_vision_select_feature") or "patch"
    known = {"patch": "default", "cls_patch": "full"}
    if chosen not in known:
        where = f"{sources.folder / 'config.json'}: mm_vision_select_feature"
        raise UserError("unknown choice of patches", where=where, seen=chosen)
    return known[chosen]


def _tower(told: Mapping[str, Any], sources: Sources) -> PreTrainedModel:
    name = sources.vision or told.get("mm_vision_tower")
    if not isinstance(name, str) or not name:
        hint = "give --vision, as in openai/clip-vit-large-patch14-336"
        raise UserError("which vision tower?", where=str(sources.folder), hint=hint)
    return _weights_of(CLIPVisionModel, name, "--vision")


def _weights_of(kind: Any, name: str, option: str) -> PreTrainedModel:
    """A model every tensor of which was in its files: others would be drawn at random."""
    model, found = _loaded(kind, name, option, dtype="auto", output_loading_info=True)
    if found["missing_keys"] or found["mismatched_keys"]:
        raise UserError(
            f"not the weights of a {kind.__name__}",
            where=option,
            seen=f"{name}: {len(found['missing_keys'])} tensors missing",
        )
    loaded: PreTrainedModel = model
    return loaded


def _loaded(kind: Any, name: str, option: str, **settings: Any) -> Any:
    odd = (ValueError, KeyError, TypeError, AttributeError)  # of a strange configuration
    try:
        return kind.from_pretrained(name, trust_remote_code=False, **settings)
    except (OSError, ImportError, RuntimeError, *odd) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"cannot be loaded: {first}", where=option, seen=name) from error


def _tokenizer(sources: Sources) -> Any:
    """The text model's own, with a token for images and, if it lacks one, for padding."""
    own = sources.folder if (sources.folder / "tokenizer_config.json").is_file() else None
    name = sources.text or own
    if name is None:
        hint = "give --text, as in lmsys/vicuna-7b-v1.5"
        raise UserError("whose tokenizer?", where=str(sources.folder), hint=hint)
    tokenizer = _loaded(AutoTokenizer, str(name), "--text", use_fast=True)
    extra: dict[str, Any] = {"additional_special_tokens": [IMAGE_TOKEN]}
    if tokenizer.pad_token is None:
        extra["pad_token"] = PAD_TOKEN
    tokenizer.add_special_tokens(extra)
    return tokenizer


def _text(
    tensors: Mapping[str, Tensor], told: Mapping[str, Any], sources: Sources
) -> tuple[dict[str, Tensor], LlamaConfig]:
    """Text weights (and those of a vision tower, if any) by new names, and their configuration."""
    rest = {key: value for key, value in tensors.items() if not is_projector(key)}
    if rest:
        own = {k: v for k, v in told.items() if k not in ("model_type", "architectures")}
        config = LlamaConfig.from_dict(own)
    else:
        if sources.text is None:
            hint = "give --text, as in lmsys/vicuna-7b-v1.5"
            raise UserError("a projector alone: between which models?", where="--text", hint=hint)
        model = _weights_of(AutoModelForCausalLM, sources.text, "--text")
        rest, config = model.state_dict(), model.config
        if not isinstance(config, LlamaConfig):
            raise UserError("not a Llama", where="--text", seen=config.model_type)
    named = ((of_transformers(key), value) for key, value in rest.items())
    return {key: value for key, value in named if key is not None}, config


def _grow(state: dict[str, Tensor], tokenizer: Any) -> int:
    """Give the vocabulary rows up to a multiple of 64 that holds all tokens; returns its size."""
    size = len(tokenizer)
    for key in ("model.language_model.embed_tokens.weight", "lm_head.weight"):
        if key not in state:
            raise UserError("a text model without embeddings or head", seen=f"no {key}")
        old = state[key]
        size = -(-max(len(old), len(tokenizer)) // _MULTIPLE) * _MULTIPLE
        mean = old.float().mean(0, keepdim=True).to(old.dtype)
        state[key] = torch.cat([old, mean.expand(size - len(old), -1)])
    return size


def _model(
    config: LlavaConfig, state: Mapping[str, Tensor], text: LlamaConfig, tokenizer: Any, where: str
) -> PreTrainedModel:
    kind = state["lm_head.weight"].dtype
    config.dtype = text.dtype = config.vision_config.dtype = kind
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    require_same(
        model.state_dict(), state, where, "give the --vision and --text that it was trained with"
    )
    cast = {key: value.to(kind).contiguous() for key, value in state.items()}
    model.load_state_dict(cast, assign=True)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model.eval()


def _processor(
    tokenizer: Any, config: LlavaConfig, told: Mapping[str, Any], sources: Sources
) -> ProcessorMixin:
    side = config.vision_config.image_size
    size = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    pad = sources.pad if sources.pad is not None else bool(pads(told))
    seeing = LlavaImageProcessorPil(do_pad=True, **size) if pad else CLIPImageProcessorPil(**size)
    # LLaVA-1.5 speaks of a user; LLaVA before it, whose projector is one map, of a human.
    person = "human" if config.projector_hidden_act == "linear" else "user"
    return LlavaProcessor(
        image_processor=seeing,
        tokenizer=tokenizer,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        image_token=IMAGE_TOKEN,
        num_additional_image_tokens=1,
        chat_template=_TEMPLATE.replace("SYSTEM", _SYSTEM.format(person=person)),
    )
