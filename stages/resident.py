"""The model that a process holds: one base model, and one adapter on it or none."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from adaptinf.distributed import Ranks
from adaptinf.models.loading import ModelSource, load_model
from adaptinf.models.preprocessing import require_preprocessing
from config import Adapter
from stages.lineage import Layers

_Layered: TypeAlias = tuple[tuple[Path, ...], Path | None]
"""Folders of the adapters in a model's weights, and of the one on it."""


class ResidentModel:
    """Loads, merges, puts on and takes off as little as what is asked for allows."""

    def __init__(
        self,
        source: ModelSource,
        preprocessing: Callable[[], Mapping[str, Any]],
        adapter: Adapter,
        seed: int,
        ranks: Ranks,
    ) -> None:
        """``adapter`` and ``seed`` make up a fresh adapter, the same in every stage.

        ``preprocessing`` tells what texts and images become before the model sees them.
        """
        self._source = source
        self._preprocessing = preprocessing
        self._adapter = adapter
        self._seed = seed
        self._ranks = ranks
        self._held: tuple[tuple[Path, ...], Any] | None = None
        self._worn: tuple[_Layered, Any] | None = None

    @contextmanager
    def bare(self) -> Iterator[Any]:
        """The untouched base model."""
        yield self._base(()).eval()

    @contextmanager
    def adapted(self, lineage: Layers, *, trainable: bool = False) -> Iterator[Any]:
        """The base model with the adapter of a lineage on it, or with a fresh adapter.

        A trained one that is not to be trained further stays on the model until another model is
        asked for: each benchmark is a stage of its own.

        Raises:
            UserError: the adapter was trained behind another processor, or does not fit the model.
        """
        place = (lineage.merged_folders, lineage.folder)
        stays = lineage.folder is not None and not trainable
        if not stays or self._worn is None or self._worn[0] != place:
            self._worn = (place, self._put_on(lineage, trainable=trainable))
        wrapped = self._worn[1]
        try:
            yield wrapped.train() if trainable else wrapped.eval()
        except BaseException:
            stays = False
            raise
        finally:
            if not stays:
                self._take_off()

    def forget(self) -> None:
        """Load the model anew when it is next asked for."""
        self._held = self._worn = None
        gc.collect()

    def _base(self, merged: tuple[Path, ...]) -> Any:
        """The base model with the adapters of these folders in its weights."""
        from adaptinf.adapters import load_adapter, merge

        self._take_off()
        held, model = self._held or ((), None)
        # Held by nobody while it changes: after an error it would be neither one nor the other.
        self._held = None
        if model is None or held != merged[: len(held)]:
            model = None  # before the next one comes
            self._ranks.take_device()
            held, model = (), load_model(self._source)
            self._ranks.move()
        for folder in merged[len(held) :]:
            model = merge(load_adapter(model, folder))
            self._ranks.move()
        self._held = (merged, model)
        return model

    def _put_on(self, lineage: Layers, *, trainable: bool) -> Any:
        from adaptinf.adapters import attach, load_adapter

        base = self._base(lineage.merged_folders)
        if lineage.folder is None:
            return attach(base, **self._adapter.options, seed=self._seed)
        require_preprocessing(lineage.folder, self._preprocessing())
        return load_adapter(base, lineage.folder, trainable=trainable)

    def _take_off(self) -> None:
        """Leave the base model as it was before an adapter was put on it."""
        from adaptinf.adapters import detach

        if self._worn is not None:
            detach(self._worn[1])
            self._worn = None
