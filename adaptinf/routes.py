"""Names of adapter routes and placements; no torch, so that a recipe can be checked fast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ROUTES = ("lora", "dora", "conlora", "mixlora")
"""Kinds of adapter."""

LORA_ROUTES = ("lora", "dora", "conlora")
"""Those whose adapter is LoRA's matrices A and B."""

PLACEMENTS = ("text", "conlora", "conlora-body", "dora-llava", "mixlora-llava")
"""Placements that have a name."""

PARTS = ("vision", "connector", "text")
"""Parts of a vision-language model."""

LAYERS = r"all|(upper|lower):(0?\.\d*[1-9]\d*|1(\.0*)?)|\d+-\d+"
"""How layers are given: all, a share of them from one end, or the first and last number."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Linear modules of one part of a model that get an adapter, and what is special about it.

    ``leaves``: ``all``, or q, k, v, o, gate, up, down, or ends of modules' names. ``layers``:
    ``all``, ``upper:0.64`` and ``lower:0.69`` (a share of them), ``0-21``; a connector has all.
    ``r``: rank, or ``full`` for a connector that is trained itself. None: the adapter's own value.
    """

    part: str
    leaves: str | Sequence[str] = "all"
    layers: str = "all"
    r: int | str | None = None
    alpha: float | None = None
    learning_rate: float | None = None


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """All that makes an adapter, but for its seed; the last three are for ``mixlora``."""

    route: str = "lora"
    r: int = 16
    alpha: float = 32
    dropout: float = 0.05
    placement: str | Sequence[Placement] | None = None
    num_experts: int = 16
    routing: str = "input"
    routers: str = "learned"

    @property
    def places(self) -> str | Sequence[Placement]:
        """The placement, or the route's own where none is given."""
        return self.placement or ("conlora" if self.route == "conlora" else "text")
