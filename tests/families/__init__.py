"""Tiny random models of many families, with batches as their processors lay them out.

Made from configurations alone, so that no test needs a download or an image library.
"""

from __future__ import annotations

from tests.families.blip import BLIP2, INSTRUCTBLIP
from tests.families.family import Family, without_images
from tests.families.gemma import GEMMA3, PALIGEMMA, PALIGEMMA2
from tests.families.idefics import IDEFICS2, IDEFICS3, SMOLVLM
from tests.families.internvl import INTERNVL
from tests.families.llava import LLAVA, LLAVA_NEXT, LLAVA_ONEVISION
from tests.families.qwen import QWEN2_5_VL, QWEN3_VL
from tests.families.rows import Row, Shape

FAMILIES: dict[str, Family] = {
    "llava": LLAVA,
    "llava_next": LLAVA_NEXT,
    "llava_onevision": LLAVA_ONEVISION,
    "qwen2_5_vl": QWEN2_5_VL,
    "qwen3_vl": QWEN3_VL,
    "smolvlm": SMOLVLM,
    "idefics2": IDEFICS2,
    "idefics3": IDEFICS3,
    "internvl": INTERNVL,
    "gemma3": GEMMA3,
    "paligemma": PALIGEMMA,
    "paligemma2": PALIGEMMA2,
    "instructblip": INSTRUCTBLIP,
    "blip2": BLIP2,
}

__all__ = ["FAMILIES", "Family", "Row", "Shape", "without_images"]
