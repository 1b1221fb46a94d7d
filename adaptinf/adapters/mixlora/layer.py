"""A linear module with a mixture beside it, as PEFT's layers are."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from adaptinf.adapters.mixlora.config import MixLoraConfig
from adaptinf.adapters.mixlora.mixture import Mixture
from adaptinf.adapters.mixlora.routing import Route, Routing
from adaptinf.adapters.tuners import RowwiseLayer
from adaptinf.errors import UserError


class MixLoraLinear(RowwiseLayer):
    """``base_layer`` and one ``Mixture`` per adapter, by name."""

    adapter_layer_names = ("mixlora_factors",)
    refusal = (
        "a MixLoRA adapter",
        "its update differs from row to row",
        "export a plain LoRA of the mean route with adaptinf.adapters.mixlora.freeze_route",
    )

    def __init__(self, base_layer: nn.Linear, path: str, routing: Routing) -> None:
        super().__init__(base_layer)
        self.path = path
        self.routing = routing
        self.mixlora_factors = nn.ModuleDict()

    def update_layer(self, name: str, config: MixLoraConfig) -> None:
        """Add a fresh mixture for the adapter ``name``, or draw its old one anew."""
        base = self.get_base_layer()
        self.mixlora_factors[name] = Mixture(base.in_features, base.out_features, config)
        self._move_adapter_to_device_of_base_layer(name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """What the base layer gives, and on top of it what the active adapters add.

        Raises:
            UserError: ``x`` has not the rows and tokens of the text.
        """
        result = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters:
            return result
        for name in self.active_adapters:
            if name in self.mixlora_factors:
                mixture = self.mixlora_factors[name]
                route = self.routing.current()
                rows = self._rows_of(x, route)
                update = mixture(self._cast_input_dtype(rows, mixture.pool_a.dtype), route)
                result = result + update.to(result.dtype).view_as(result)
        return result

    def _rows_of(self, x: Tensor, route: Route) -> Tensor:
        """``x`` as [rows, tokens, in]; OPT's feed-forward layers see all rows' tokens in one."""
        rows = x
        if x.ndim == 2 and route.rows and len(x) % route.rows == 0:
            rows = x.unflatten(0, (route.rows, -1))
        expected = None if route.prompt is None else list(route.prompt.shape)
        if rows.ndim != 3 or expected not in (None, list(rows.shape[:2])):
            raise UserError(
                f"MixLoRA chooses factors per row of text, and {self.path} sees none",
                where="adapter.target_modules",
                seen=f"{list(x.shape)}, where the text has {expected}",
                hint="choose linear modules of the text layers only",
            )
        return rows
