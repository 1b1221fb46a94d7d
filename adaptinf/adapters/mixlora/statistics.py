"""Which factors were chosen for which rows, for the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from torch import nn

from adaptinf.adapters.mixlora.layer import MixLoraLinear
from adaptinf.adapters.mixlora.mixture import Mixture
from adaptinf.adapters.mixlora.routing import Choice


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A mixture and the name of its module in the model."""

    name: str
    layer: MixLoraLinear
    mixture: Mixture


def placed_mixtures(model: nn.Module, adapter: str | None = None) -> Iterator[Placed]:
    """The mixtures of ``adapter``, or of the active adapters, in the model's order."""
    for name, layer in model.named_modules():
        if isinstance(layer, MixLoraLinear):
            wanted = layer.active_adapters if adapter is None else [adapter]
            for key in wanted:
                if key in layer.mixlora_factors:
                    yield Placed(name, layer, layer.mixlora_factors[key])


def routes_of(model: nn.Module, adapter: str | None = None) -> dict[str, Choice]:
    """The choices of the newest forward pass by name of module; after ``generate``: its prompts'.

    Of ``adapter``, or else of the active one. Empty before the first pass.
    """
    routes = {}
    for placed in placed_mixtures(model, adapter):
        last = placed.layer.routing.last
        if last is not None and placed.mixture in last.choices:
            routes[placed.name] = last.choices[placed.mixture]
    return routes


@dataclass(frozen=True, slots=True)
class _Place:
    layer: str
    side: str
    label: str


@dataclass(slots=True)
class RouteCounts:
    """How often each factor was chosen, by module, by pool (a, b) and by label of the rows.

    A row counts ``rank`` factors in each pool. ``experts`` is the size of a pool.
    """

    experts: int
    _counts: dict[_Place, np.ndarray] = field(default_factory=dict)

    def add(self, routes: Mapping[str, Choice], labels: Sequence[str] | None = None) -> None:
        """Count what ``routes_of`` tells; ``labels`` (such as skills) has one for each row.

        Raises:
            ValueError: there are not as many labels as rows.
        """
        for layer, choice in routes.items():
            rows = len(choice.a)
            named = np.asarray([""] * rows if labels is None else list(labels), dtype=object)
            if len(named) != rows:
                raise ValueError(f"{len(named)} labels for {rows} rows")
            for side, chosen in (("a", choice.a.cpu().numpy()), ("b", choice.b.cpu().numpy())):
                for label in sorted(set(named)):
                    fresh = np.bincount(chosen[named == label].ravel(), minlength=self.experts)
                    place = _Place(layer, side, label)
                    self._counts[place] = self._counts.get(place, 0) + fresh

    def of(self, layer: str, side: str, label: str = "") -> np.ndarray:
        """Counts [experts] int64 of one module's pool; zeros for what was never seen."""
        return self._counts.get(_Place(layer, side, label), np.zeros(self.experts, np.int64))

    def table(self) -> pa.Table:
        """All counts, zeros too: columns layer, side, label, factor, count."""
        names = ("layer", "side", "label")
        columns: dict[str, list[str] | np.ndarray] = {
            name: [getattr(place, name) for place in self._counts for _ in range(self.experts)]
            for name in names
        }
        columns["factor"] = np.tile(np.arange(self.experts), len(self._counts))
        columns["count"] = np.concatenate([np.zeros(0, np.int64), *self._counts.values()])
        return pa.table(columns)
