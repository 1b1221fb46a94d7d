"""MixLoRA's tuner: puts mixtures on a model and its routing around them."""

from __future__ import annotations

from torch import nn

from adaptinf.adapters.mixlora.config import MixLoraConfig
from adaptinf.adapters.mixlora.layer import MixLoraLinear
from adaptinf.adapters.mixlora.routing import Routing
from adaptinf.adapters.tuners import RowwiseTuner
from adaptinf.errors import UserError


class MixLoraModel(RowwiseTuner):
    """PEFT's ``base_model`` of a MixLoRA adapter; all named adapters share one routing."""

    prefix = "mixlora_"
    tuner_layer_cls = MixLoraLinear

    def _pre_injection_hook(
        self, model: nn.Module, config: MixLoraConfig, adapter_name: str
    ) -> None:
        self.routing = self.listener = Routing()
        self.handles = self.routing.listen(model)

    def _create_and_replace(
        self,
        peft_config: MixLoraConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        if isinstance(target, MixLoraLinear):
            target.update_layer(adapter_name, peft_config)
            return
        if not isinstance(target, nn.Linear):
            raise UserError(
                "MixLoRA goes on linear modules",
                where="adapter.target_modules",
                seen=f"{current_key}: {type(target).__name__}",
                hint="choose linear modules of the text layers only",
            )
        layer = MixLoraLinear(target, current_key, self.routing)
        layer._active_adapter = adapter_name
        layer.update_layer(adapter_name, peft_config)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)
        self._replace_module(parent, target_name, layer, target)
