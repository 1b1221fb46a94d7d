"""What a model is shown of a text and an image, told so that two processors can be compared.

A model answers as it was scored only if it is given the same tokens and the same pixels. So an
adapter's ``lineage.json`` tells by what it was trained and scored, and it is compared on loading.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adaptinf.errors import UserError

_TRIED = "USER: Is it 3.5 or 12?\n  Two dogs, naïve & red. ASSISTANT: Yes.</s>"
_IMAGE_TOKENS = (
    "patch_size",
    "vision_feature_select_strategy",
    "num_additional_image_tokens",
    "image_seq_length",
    "image_seq_len",
    "num_image_tokens",
    "image_token",
)
_NAMES = ("image_processor_type", "processor_class", "feature_extractor_type", "data_format")


def preprocessing(processor: Any) -> dict[str, Any]:
    """What decides over tokens and pixels.

    ``chat_template`` and ``tokenizer`` are SHA-256: of the template's text, and of the vocabulary
    with the ids of a sentence. ``image`` and ``image_tokens`` are settings; those that are null are
    left out, so that a later release of Transformers with more of them tells the same.
    """
    tokenizer = processor.tokenizer
    vocabulary = sorted(tokenizer.get_vocab().items())
    tried = tokenizer(_TRIED, add_special_tokens=True)["input_ids"]
    seeing = getattr(processor, "image_processor", None)
    return {
        "chat_template": _digest(getattr(processor, "chat_template", None)),
        "tokenizer": _digest([vocabulary, tried]),
        "image": _settings(seeing.to_dict() if seeing is not None else {}),
        "image_tokens": _settings({key: getattr(processor, key, None) for key in _IMAGE_TOKENS}),
    }


def require_preprocessing(adapter: Path, now: Mapping[str, Any]) -> None:
    """That ``now`` is what the ``lineage.json`` in an adapter's folder tells.

    Adapters of earlier releases tell nothing, and nothing is compared.

    Raises:
        UserError: it is not; what differs is named.
    """
    file = adapter / "lineage.json"
    try:
        stored = json.loads(file.read_text(encoding="utf-8")).get("processor")
    except (OSError, ValueError, AttributeError):
        return
    if not isinstance(stored, Mapping):
        return
    differ = _differences(stored, now)
    if differ:
        raise UserError(
            "texts or images would come to the model otherwise than when the adapter was trained",
            where=str(adapter),
            seen="; ".join(differ),
            hint="give the base model's processor as it was then (its revision, its files)",
        )


def pads_to_square(processor: Any) -> bool:
    """Whether images are padded to squares before they are made smaller, as LLaVA-1.5 wants it."""
    return bool(getattr(processor.image_processor, "do_pad", False))


def _differences(stored: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    found = []
    for part, value in now.items():
        then = stored.get(part)
        if isinstance(value, dict) and isinstance(then, Mapping):
            for key in sorted({*value, *then}):
                if value.get(key) != then.get(key):
                    found.append(
                        f"{part}.{key} {_said(then.get(key))}, now {_said(value.get(key))}"
                    )
        elif then is not None and then != value:
            found.append(part)
    return found


def _said(value: object) -> str:
    return "unset" if value is None else json.dumps(value)


def _settings(told: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON has them, without names of classes and what is not set."""
    kept = {k: v for k, v in told.items() if v is not None and k not in _NAMES and k[0] != "_"}
    plain: dict[str, Any] = json.loads(json.dumps(kept, default=_plain))
    return plain


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)


def _digest(value: object) -> str:
    raw = json.dumps(value, ensure_ascii=False, sort_keys=True).encode(errors="surrogatepass")
    return hashlib.sha256(raw).hexdigest()
