"""MixLoRA as a PEFT tuner: every row of text is adapted by LoRA factors chosen for that row.

Importing this package registers it with PEFT; from then on ``PeftModel.from_pretrained`` reads its
folders. Without that, PEFT stops at the unknown type with ``KeyError: 'MIXLORA'``; the file
``adapter_config.json`` says what to import (``load_with``).

This is MixLoRA of Shen et al. 2024 (arXiv 2402.15896). Another method of that name, whole LoRA
experts in the feed-forward layers, has nothing to do with it.
"""

from adaptinf.adapters.mixlora.config import MixLoraConfig
from adaptinf.adapters.mixlora.freezing import FrozenRoute, freeze_route
from adaptinf.adapters.mixlora.routing import Choice
from adaptinf.adapters.mixlora.statistics import RouteCounts, routes_of
from adaptinf.adapters.mixlora.tuner import MixLoraModel
from adaptinf.adapters.registration import register

__all__ = [
    "Choice",
    "FrozenRoute",
    "MixLoraConfig",
    "MixLoraModel",
    "RouteCounts",
    "freeze_route",
    "routes_of",
]

register("mixlora", MixLoraConfig, MixLoraModel)
