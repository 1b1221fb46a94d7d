"""ADEM's tuner: puts its layers on a model and its perception around them."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from adaptinf.adapters.adem.config import AdemConfig
from adaptinf.adapters.adem.families import eyes_of
from adaptinf.adapters.adem.layer import AdemLayer, AdemMlp, AdemVisionMlp
from adaptinf.adapters.adem.perception import Perception
from adaptinf.adapters.adem.prompt import VisualPrompt
from adaptinf.adapters.tuners import RowwiseTuner
from adaptinf.errors import UserError
from adaptinf.models.parts import text_layers


class AdemModel(RowwiseTuner):
    """PEFT's ``base_model`` of an ADEM adapter; all named adapters share one perception.

    One adapter is active at a time: two could disagree on which tokens are there.
    """

    prefix = "adem_"
    tuner_layer_cls = AdemLayer

    def _pre_injection_hook(self, model: nn.Module, config: AdemConfig, adapter_name: str) -> None:
        self.perception = self.listener = Perception(model, self._active_prompt, self._trained)
        self.handles = self.perception.listen(model, eyes_of(model, config.mode))

    def _prepare_adapter_config(
        self, peft_config: AdemConfig, model_config: dict[str, Any]
    ) -> AdemConfig:
        eyes = eyes_of(self.model, peft_config.mode)
        if peft_config.target_modules is None:
            blocks = list(text_layers(self.model))
            # A block whose output is not read would never get a gradient.
            blocks += eyes.blocks if peft_config.adapter_dim else []
            wanted = {id(block.mlp) for block in blocks}
            names = [name for name, m in self.model.named_modules() if id(m) in wanted]
            peft_config.target_modules = _pattern(names)
        return peft_config

    def _create_and_replace(
        self,
        peft_config: AdemConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        layer = target if isinstance(target, AdemLayer) else self._fresh(target, current_key)
        if layer is not target:
            layer._active_adapter = adapter_name
        eyes = eyes_of(self.model, peft_config.mode)
        if isinstance(layer, AdemVisionMlp):
            layer.update_layer(adapter_name, peft_config, self._vision_width())
        else:
            first = self._prompt_of(adapter_name) is None
            hidden = self.model.config.get_text_config().hidden_size
            prompt = VisualPrompt(eyes.width, hidden, peft_config) if first else None
            layer.update_layer(adapter_name, peft_config, prompt)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)
        if layer is not target:
            self._replace_module(parent, target_name, layer, target)

    def _fresh(self, target: nn.Module, key: str) -> AdemLayer:
        """A layer around the feed-forward module ``target``."""
        if any(block.mlp is target for block in text_layers(self.model)):
            return AdemMlp(target, self.perception)
        if any(block.mlp is target for block in eyes_of(self.model, "add").blocks):
            return AdemVisionMlp(target)
        raise UserError(
            "ADEM goes on feed-forward modules of the text layers and of the vision tower",
            where="adapter.target_modules",
            seen=f"{key}: {type(target).__name__}",
            hint="leave it out, for all of them",
        )

    def _replace_module(
        self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module
    ) -> None:
        # PEFT's own way is for modules that have a weight themselves.
        setattr(parent, child_name, new_module)

    def _vision_width(self) -> int:
        return int(self.model.config.vision_config.hidden_size)

    def _active_prompt(self) -> VisualPrompt | None:
        """That of the active adapter; None if adapters are disabled."""
        layers = (m for m in self.model.modules() if isinstance(m, AdemMlp))
        layer = next(layers, None)
        if layer is None or layer.disable_adapters or not layer.active_adapters:
            return None
        if len(layer.active_adapters) > 1:
            raise UserError(
                "one ADEM adapter can be active at a time",
                seen=", ".join(layer.active_adapters),
                hint="choose one with set_adapter",
            )
        return self._prompt_of(layer.active_adapters[0])

    def _trained(self) -> list[nn.Parameter]:
        names = (".adem_prompt.", ".adem_bottleneck.")
        named = self.model.named_parameters()
        return [p for key, p in named if p.requires_grad and any(name in key for name in names)]

    def _prompt_of(self, adapter: str) -> VisualPrompt | None:
        for module in self.model.modules():
            if isinstance(module, AdemMlp) and adapter in module.adem_prompt:
                return module.adem_prompt[adapter]
        return None

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        # PEFT's own way finds the name only where a module of one level bears it.
        for container in ("adem_prompt", "adem_bottleneck"):
            before, found, after = key.partition(f".{container}.{adapter_name}.")
            if found:
                return f"{before}.{container}.{after}"
        shorter: str = super()._remove_adapter_name_from_key(key, adapter_name)
        return shorter


def _pattern(names: list[str]) -> str:
    """One anchored pattern: PEFT's short names would match whatever ends like them."""
    layers: dict[str, list[str]] = {}
    for name in names:
        stack, number, _ = name.rsplit(".", 2)
        layers.setdefault(stack, []).append(number)
    return "|".join(
        rf"{re.escape(stack)}\.({'|'.join(numbers)})\.mlp" for stack, numbers in layers.items()
    )
