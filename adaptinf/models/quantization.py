"""A base model whose text layers are kept in 4 or 8 bits, by bitsandbytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptinf.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import BitsAndBytesConfig


def quantized(kind: str, config: Any, dtype: torch.dtype) -> BitsAndBytesConfig:
    """How a model of this configuration is loaded with its text layers in fewer bits.

    ``4bit``: NF4 with constants that are quantised themselves, computed in ``dtype`` (Dettmers et
    al. 2023). ``8bit``: LLM.int8 (Dettmers et al. 2022), computed in float16. Vision tower,
    connector and output embeddings stay as they are: they are a small part of the weights, and a
    connector may be trained itself.

    Raises:
        UserError: bitsandbytes is not here, or runs on no device of this machine.
    """
    from transformers import BitsAndBytesConfig

    _require_bitsandbytes(kind)
    kept = _kept(config)
    if kind == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=kept,
    )


def keep_way_back(model: nn.Module) -> None:
    """See to it that gradients flow through the modules in fewer bits, wherever they run.

    On a CPU with AVX512-BF16, bitsandbytes (0.50.2) packs a 4-bit weight at the first evaluation,
    for a kernel without a backward pass; gradients through it are then wrong without a word.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _require_bitsandbytes(kind: str) -> None:
    from transformers.utils import is_bitsandbytes_available

    if not is_bitsandbytes_available():
        raise UserError(
            "weights in fewer bits need bitsandbytes, which is not installed",
            where="model.quantize",
            seen=kind,
            hint='pip install "adaptinf[quantize]", or leave model.quantize out',
        )
    from transformers.integrations import validate_bnb_backend_availability

    try:
        validate_bnb_backend_availability(raise_exception=True)
    except RuntimeError as error:
        raise UserError(
            f"bitsandbytes cannot run here: {error}", where="model.quantize", seen=kind
        ) from error


def _kept(config: Any) -> list[str]:
    """Names of the linear modules outside of the text layers, from a model without weights."""
    import torch
    from transformers import AutoModelForImageTextToText

    from adaptinf.models.parts import text_layers

    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    inside = {id(module) for module in text_layers(model).modules()}
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and id(module) not in inside
    ]
