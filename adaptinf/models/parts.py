"""Find the parts of any Hugging Face image-text-to-text model, bare or wrapped by PEFT."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import ModulesToSaveWrapper
from torch import nn

from adaptinf.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_DEPTHS = {"first": 0.0, "middle": 0.5, "last": 1.0}
_LAYER_LISTS = ("layers", "layer", "h", "blocks", "block")
_CONNECTORS = (
    "multi_modal_projector",
    "mm_projector",
    "connector",
    "qformer",
    "language_projection",
    "merger",
    "deepstack_merger_list",
    "resampler",
    "aligner",
)
_CAP = "final_logit_softcapping"
_LOGIT_CHANGES = {_CAP: None, "logit_scale": 1.0, "logits_scaling": 1.0}
# Others take that setting and do not all apply it: in transformers 5.23 Gemma 3 does not.
_CAPPING_FAMILIES = ("paligemma",)
_FILLING_FAMILIES = ("idefics2", "idefics3", "smolvlm")
# PaliGemma's prefix sees the text after it, InstructBLIP's images the question.
_CAUSAL_FAMILIES = (
    "llava",
    "llava_next",
    "llava_onevision",
    "qwen2_5_vl",
    "qwen3_vl",
    "smolvlm",
    "idefics2",
    "idefics3",
    "internvl",
    "gemma3",
    "blip-2",
)
_CAUSAL_TEXTS = (
    "llama",
    "mistral",
    "opt",
    "qwen2",
    "qwen2_5_vl_text",
    "qwen3_vl_text",
    "gemma3_text",
)


def bare_model(model: nn.Module) -> PreTrainedModel:
    """The Hugging Face model itself; an adapter's modules stay inside it."""
    return cast(
        "PreTrainedModel", model.get_base_model() if isinstance(model, PeftModel) else model
    )


def text_layers(model: nn.Module) -> nn.ModuleList:
    """The decoder layers of the text model, layer 0 next to the embeddings.

    Raises:
        UserError: the text decoder holds no list of layers.
    """
    bare = bare_model(model)
    found = _layer_list(bare.get_decoder())
    if found is None:
        raise _missing(bare, "list of text decoder layers")
    return found


def running_layers(model: nn.Module) -> list[nn.Module]:
    """The same as they run: of a layer that is trained itself, the copy that is trained.

    Raises:
        UserError: the text decoder holds no list of layers.
    """
    return [
        layer.modules_to_save[layer.active_adapters[0]]
        if isinstance(layer, ModulesToSaveWrapper)
        and layer.active_adapters
        and not layer.disable_adapters
        else layer
        for layer in text_layers(model)
    ]


def vision_layers(model: nn.Module) -> nn.ModuleList:
    """The blocks of the vision tower, block 0 next to the pixels.

    Raises:
        UserError: the model has no vision tower, or it holds no list of blocks.
    """
    bare = bare_model(model)
    tower = bare.get_encoder(modality="image")
    found = None if tower is bare else _layer_list(tower)
    if found is None:
        raise _missing(bare, "list of vision blocks")
    return found


def vision_depth(model: nn.Module) -> int:
    """Vision blocks that have a say: LLaVA takes the states before its last one."""
    count = len(vision_layers(model))
    used = getattr(bare_model(model).config, "vision_feature_layer", None)
    if used is None:
        return count
    states = [used] if isinstance(used, int) else used
    # State 0 is what block 0 is given.
    return max(state if state >= 0 else count + 1 + state for state in states)


def connector(model: nn.Module) -> tuple[nn.Module, ...]:
    """The modules between vision tower and text: projector, resampler, merger or Q-Former.

    In the model's order; parts of the vision tower that join its patches belong to it.

    Raises:
        UserError: the model has no such module that is known.
    """
    bare = bare_model(model)
    found = tuple(_named_connectors(bare, bare.get_decoder()))
    if not found:
        raise _missing(bare, "connector that is known")
    return found


def _named_connectors(module: nn.Module, text: nn.Module) -> Iterator[nn.Module]:
    for name, child in module.named_children():
        if child is text:
            continue
        if name not in _CONNECTORS:
            yield from _named_connectors(child, text)
        elif isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield child


def _layer_list(root: nn.Module) -> nn.ModuleList | None:
    """The list of layers that is nearest below ``root``."""
    queue = deque([root])
    while queue:
        module = queue.popleft()
        for name, child in module.named_children():
            if isinstance(child, nn.ModuleList) and name in _LAYER_LISTS:
                return child
            queue.append(child)
    return None


def inner_model(model: nn.Module) -> nn.Module:
    """The model below the output embeddings: gives ``last_hidden_state`` and makes no logits.

    Raises:
        UserError: the model has no such part.
    """
    bare = bare_model(model)
    if bare.base_model is bare:
        raise _missing(bare, "inner model that gives hidden states without logits")
    return bare.base_model


def output_embeddings(model: nn.Module) -> nn.Linear:
    """The linear map [vocabulary, hidden] from last hidden states to logits, but for their cap.

    Raises:
        UserError: there is none, it carries an adapter, or the model changes logits after it in
            another way than by ``logit_cap``, so that token probabilities cannot be told.
    """
    bare = bare_model(model)
    head = bare.get_output_embeddings()
    if not isinstance(head, nn.Linear):
        raise _missing(bare, "plain linear output embeddings (an adapter on them cannot be used)")
    text_config = bare.config.get_text_config()
    for key, neutral in _LOGIT_CHANGES.items():
        value = getattr(text_config, key, neutral)
        capped = key == _CAP and logit_cap(bare) is not None
        if value not in (neutral, None) and not capped:
            raise UserError(
                f"{type(bare).__name__} changes its logits after the output embeddings by {key}",
                where="model.name",
                seen=value,
                hint="choose a model without it",
            )
    return head


def logit_cap(model: nn.Module) -> float | None:
    """The c of a model whose logits are c tanh(z / c) of what its head gives (Gemma 2), or None."""
    config = bare_model(model).config
    if config.model_type not in _CAPPING_FAMILIES:
        return None
    return getattr(config.get_text_config(), _CAP, None)


def fills_rows_with_images(model: nn.Module) -> bool:
    """Whether every row has as many images as the longest, those that it lacks made of zeros.

    The model leaves images of nothing but zeros out. Elsewhere the images of a batch are one list.
    """
    return bare_model(model).config.model_type in _FILLING_FAMILIES


def prefix_stands_alone(model: nn.Module) -> bool:
    """Whether what the text model makes of a row's start, images included, is blind to the rest.

    True of families and text models that were tried. It takes attention that looks backwards, or
    no further than the image it is in (Gemma 3), and images that are seen before the text is.
    Adapters other than LoRA look at a row as a whole (MixLoRA at its prompt, ADEM at its images).
    """
    config = bare_model(model).config
    text = config.get_text_config().model_type
    tuned = (module for module in model.modules() if isinstance(module, BaseTunerLayer))
    return (
        config.model_type in _CAUSAL_FAMILIES
        and text in _CAUSAL_TEXTS
        and all(isinstance(module, LoraLayer) for module in tuned)
    )


def image_token_id(model: nn.Module) -> int:
    """Id of the token that stands for one image patch in ``input_ids``.

    Raises:
        UserError: the model's configuration names none.
    """
    bare = bare_model(model)
    for key in ("image_token_id", "image_token_index"):
        token = getattr(bare.config, key, None)
        if token is not None:
            return int(token)
    raise _missing(bare, "image_token_id in the configuration")


def layer_index(spec: int | float | str, count: int) -> int:
    """Number of a layer, counted from 0, of ``count`` layers.

    ``spec`` is that number, ``first``, ``middle`` or ``last``, or a fraction of the depth from 0.0
    to 1.0; ``middle`` is 0.5, the upper of two middle layers.

    Raises:
        UserError: there is no such layer.
    """
    depth = _DEPTHS.get(spec) if isinstance(spec, str) else spec
    if isinstance(depth, float) and 0 <= depth <= 1:
        return min(int(depth * count), count - 1)
    if isinstance(depth, int) and 0 <= depth < count:
        return depth
    raise UserError(
        "no such layer in the text model",
        where="featurize.layer",
        seen=spec,
        hint=f"give 0 to {count - 1}, a fraction from 0.0 to 1.0, first, middle or last",
    )


def _missing(model: nn.Module, part: str) -> UserError:
    return UserError(
        f"{type(model).__name__} has no {part}",
        where="model.name",
        hint="choose an image-text-to-text model such as LLaVA, Qwen2.5-VL or InternVL",
    )
