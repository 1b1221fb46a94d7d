"""A recipe under examination: what one check has found, and another needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from adaptinf.models.loading import ModelSource
from config import Recipe

if TYPE_CHECKING:
    from stages.bill import StageCost
    from stages.context import Context
    from stages.forecast import ModelShape
    from stages.look import TaskLook


@dataclass(slots=True)
class Case:
    """The recipe and what is known of it so far.

    ``scratch`` is a folder for what a look leaves behind, so that nothing is written into the run.
    """

    recipe: Recipe
    scratch: Path
    has_model: bool = False
    """Whether configuration, processor and weights are on this machine."""
    looks: dict[str, TaskLook] = field(default_factory=dict)
    """By task; those that can be used."""
    asks: bool = False
    """Whether all benchmarks can be asked."""
    costs: list[StageCost] | None = None
    """The bill, once it is worked out."""
    _context: Context | None = None
    _shape: ModelShape | None = None

    @property
    def model_source(self) -> ModelSource:
        """What to load, and how; known without data."""
        return ModelSource.of(self.recipe.model)

    @property
    def shape(self) -> ModelShape:
        """The model's sizes, by its configuration."""
        if self._shape is None:
            from stages.forecast import model_shape

            self._shape = model_shape(self.model_source, self.recipe)
        return self._shape

    @property
    def weight_bytes(self) -> float:
        """What the weights take that are not trained, in the type that they are loaded in."""
        return float(self.shape.parameters * self.shape.bytes_per_parameter)

    @property
    def context(self) -> Context:
        """The run's context, as the dry run opens it. Raises ``UserError`` without a data root."""
        if self._context is None:
            from stages.preview import open_look

            self._context = open_look(self.recipe, self.scratch)
        return self._context
