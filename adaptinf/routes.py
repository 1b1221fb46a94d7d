"""Names of adapter routes and placements; no torch, so that a recipe can be checked fast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ROUTES = ("lora", "dora", "conlora", "mixlora", "adem", "full")
"""Kinds of adapter."""

LORA_ROUTES = ("lora", "dora", "conlora")
"""Those whose adapter is LoRA's matrices A and B."""

PLACEMENTS = ("text", "conlora", "conlora-body", "dora-llava", "mixlora-llava", "full")
"""Placements that have a name."""

PARTS = ("vision", "connector", "text")
"""Parts of a vision-language model."""

UNMERGEABLE = ("mixlora", "adem")
"""Those whose update is another one for every row."""

OWNERS = {
    **dict.fromkeys(("num_experts", "routing", "routers"), "mixlora"),
    **dict.fromkeys(
        ("mode", "beta", "drop_ratio", "down_sample_num", "hidden_proj", "adapter_dim"), "adem"
    ),
}
"""Settings that one route alone has, and which."""

LAYERS = r"all|(upper|lower):(0?\.\d*[1-9]\d*|1(\.0*)?)|\d+-\d+"
"""How layers are given: all, a share of them from one end, or the first and last number."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Linear modules of one part of a model that get an adapter, and what is special about it.

    ``leaves``: ``all``, or q, k, v, o, gate, up, down, or ends of modules' names. ``layers``:
    ``all``, ``upper:0.64`` and ``lower:0.69`` (a share of them), ``0-21``; a connector has all.
    ``r``: rank, or ``full`` for layers or a connector that are trained themselves. None: the
    adapter's own value.
    """

    part: str
    leaves: str | Sequence[str] = "all"
    layers: str = "all"
    r: int | str | None = None
    alpha: float | None = None
    learning_rate: float | None = None


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """All that makes an adapter, but for its seed; from ``num_experts`` on see ``OWNERS``."""

    route: str = "lora"
    r: int = 16
    alpha: float | None = None
    dropout: float = 0.05
    placement: str | Sequence[Placement] | None = None
    num_experts: int = 16
    routing: str = "input"
    routers: str = "learned"
    mode: str = "add"
    beta: float = 0.01
    drop_ratio: float = 0.1
    down_sample_num: Sequence[int] = (256, 64)
    hidden_proj: int = 128
    adapter_dim: int | None = None

    @property
    def places(self) -> str | Sequence[Placement]:
        """The placement, or the route's own where none is given."""
        return _PLACES.get(self.route, "text") if self.placement is None else self.placement

    @property
    def weight(self) -> float:
        """``alpha``, or the route's own where none is given."""
        return _ALPHAS.get(self.route, 32.0) if self.alpha is None else self.alpha


_PLACES: dict[str, str | tuple[Placement, ...]] = {"conlora": "conlora", "adem": (), "full": "full"}
_ALPHAS = {"adem": 0.1}
