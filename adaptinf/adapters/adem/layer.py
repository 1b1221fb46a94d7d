"""Feed-forward modules with what ADEM puts beside them, as PEFT's layers are."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from adaptinf.adapters.adem.attention import cross_attention
from adaptinf.adapters.adem.config import AdemConfig
from adaptinf.adapters.adem.perception import Perception
from adaptinf.adapters.adem.prompt import VisualPrompt
from adaptinf.adapters.tuners import RowwiseLayer


class AdemLayer(RowwiseLayer):
    """``base_layer`` and what stands beside it, by name of adapter."""

    refusal = (
        "an ADEM adapter",
        "what it adds depends on the image",
        "serve the model with the adapter on it; only LoRA and its kin can be merged",
    )

    def place(self, container: nn.ModuleDict, name: str, module: nn.Module) -> None:
        """Put the module of adapter ``name`` where the base layer's weights are."""
        weight = next(self.base_layer.parameters())
        container[name] = module.to(weight.device)


class AdemMlp(AdemLayer):
    """Adds ``alpha`` times the attention to a text layer's feed-forward module.

    Both begin with the same input, the normed states. In families with another norm after the
    module (Gemma 3) the sum is what is normed.
    """

    adapter_layer_names = ("adem_prompt",)
    other_param_names = ("alpha",)

    def __init__(self, base_layer: nn.Module, perception: Perception) -> None:
        super().__init__(base_layer)
        self.perception = perception
        self.alpha: dict[str, float] = {}
        # What all layers share lives in the first of them, so that PEFT saves it once.
        self.adem_prompt = nn.ModuleDict()

    def update_layer(self, name: str, config: AdemConfig, prompt: VisualPrompt | None) -> None:
        """Take part in the adapter ``name``; ``prompt`` is for its first layer."""
        self.alpha[name] = config.alpha
        if prompt is not None:
            self.place(self.adem_prompt, name, prompt)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """What the base layer gives, and on top of it what is seen."""
        result = self.base_layer(x, *args, **kwargs)
        shared = self.perception.current()
        if shared is None or self.disable_adapters:
            return result
        for name in self.active_adapters:
            if name in self.alpha:
                seen = self.alpha[name] * cross_attention(x, shared)
                result = result + seen.to(result.dtype)
        return result


class AdemVisionMlp(AdemLayer):
    """Adds a bottleneck to a feed-forward module of the vision tower."""

    adapter_layer_names = ("adem_bottleneck",)

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        self.adem_bottleneck = nn.ModuleDict()

    def update_layer(self, name: str, config: AdemConfig, width: int) -> None:
        """Add a fresh bottleneck for the adapter ``name``."""
        self.place(self.adem_bottleneck, name, Bottleneck(width, config))
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """What the base layer gives, and on top of it what the active adapters add."""
        result = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters:
            return result
        for name in self.active_adapters:
            if name in self.adem_bottleneck:
                bottleneck = self.adem_bottleneck[name]
                inner = self._cast_input_dtype(x, bottleneck.down.weight.dtype)
                result = result + bottleneck(inner).to(result.dtype)
        return result


class Bottleneck(nn.Module):
    """``scale U dropout(gelu(D x))`` without biases; U is zero at the start (section 3)."""

    def __init__(self, width: int, config: AdemConfig) -> None:
        super().__init__()
        self.scale = config.adapter_scale
        self.dropout = nn.Dropout(config.dropout)
        self.down = nn.Linear(width, config.adapter_dim or 0, bias=False)
        self.up = nn.Linear(config.adapter_dim or 0, width, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """The update [..., width] for ``x`` [..., width]."""
        update: Tensor = self.scale * self.up(self.dropout(F.gelu(self.down(x))))
        return update
