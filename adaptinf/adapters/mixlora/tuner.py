"""MixLoRA's tuner: puts mixtures on a model and its routing around them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, NoReturn

from peft.tuners.tuners_utils import BaseTuner
from torch import nn

from adaptinf.adapters.mixlora.config import MixLoraConfig
from adaptinf.adapters.mixlora.layer import MixLoraLinear, merge_refusal
from adaptinf.adapters.mixlora.routing import Routing
from adaptinf.errors import UserError


class MixLoraModel(BaseTuner):
    """PEFT's ``base_model`` of a MixLoRA adapter; all named adapters share one routing."""

    prefix = "mixlora_"
    tuner_layer_cls = MixLoraLinear
    target_module_mapping: ClassVar[dict[str, list[str]]] = {}

    def _pre_injection_hook(
        self, model: nn.Module, config: MixLoraConfig, adapter_name: str
    ) -> None:
        self.routing = Routing()
        self._handles = self.routing.listen(model)

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

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        """PEFT opens this around every ``forward`` and ``generate`` of its model."""
        with self.routing.one_call():
            yield

    def _check_merge_allowed(self) -> NoReturn:
        raise merge_refusal()

    def unload(self) -> nn.Module:
        """The base model as it was before."""
        for handle in self._handles:
            handle.remove()
        return super().unload()
