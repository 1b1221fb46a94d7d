"""What PEFT tuners of our own have in common: they listen to the model, and cannot be merged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar, NoReturn, Protocol

from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import nn
from torch.utils.hooks import RemovableHandle

from adaptinf.errors import UserError


class Listener(Protocol):
    """What looks at a whole batch and tells the layers of it."""

    def one_call(self) -> AbstractContextManager[None]:
        """Around every ``forward`` and ``generate`` of PEFT's model."""


class RowwiseLayer(nn.Module, BaseTunerLayer):
    """``base_layer`` with something beside it that differs from row to row.

    Subclasses say in ``refusal`` what they are, why they cannot be merged, and what to do instead.
    """

    refusal: ClassVar[tuple[str, str, str]]

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer
        self._disable_adapters = False
        self.merged_adapters: list[str] = []

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> NoReturn:
        """Refused.

        Raises:
            UserError: always.
        """
        raise merge_refusal(type(self))

    def unmerge(self) -> NoReturn:
        """Refused, since nothing is ever merged.

        Raises:
            UserError: always.
        """
        raise merge_refusal(type(self))

    def __repr__(self) -> str:
        return f"{type(self).__module__.split('.')[-2]}.{super().__repr__()}"


class RowwiseTuner(BaseTuner):
    """PEFT's ``base_model`` of an adapter whose layers hear of the batch from one ``Listener``.

    A subclass sets ``listener`` and ``handles`` before its layers are made.
    """

    tuner_layer_cls: type[RowwiseLayer]
    target_module_mapping: ClassVar[dict[str, list[str]]] = {}
    listener: Listener
    handles: Sequence[RemovableHandle]

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        """PEFT opens this around every ``forward`` and ``generate`` of its model."""
        with self.listener.one_call():
            yield

    def _check_merge_allowed(self) -> NoReturn:
        raise merge_refusal(self.tuner_layer_cls)

    def unload(self) -> nn.Module:
        """The base model as it was before."""
        for handle in self.handles:
            handle.remove()
        return super().unload()


def merge_refusal(layer: type[RowwiseLayer]) -> UserError:
    """Why an adapter of these layers cannot be merged."""
    what, why, hint = layer.refusal
    return UserError(f"{what} cannot be merged into the model, nor unmerged: {why}", hint=hint)
