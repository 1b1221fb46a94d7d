"""The last layer of the text model, spared the work on states that nothing reads after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

_PARTS = ("self_attn.q_proj", "self_attn.o_proj", "mlp")


class Ending:
    """The last layer but its keys and values, on those tokens alone whose states are read.

    The rest of it takes every token by itself, and only those that predict answers are read. With
    a quarter of the tokens being such, over half of the work of this layer falls away, forward and
    backward: it is exact, for no signal comes from the others.
    """

    def __init__(self, layers: Sequence[nn.Module], tapped: int | None = None) -> None:
        """The ending of a text model's ``layers``.

        Left as it is where layer ``tapped`` is the last, of which every token is listened to.
        """
        last = layers[-1]
        modules = {} if tapped == len(layers) - 1 else dict(last.named_modules())
        self._parts = [modules[name] for name in _PARTS if _by_token(modules.get(name))]

    @contextmanager
    def only_at(self, read: Tensor) -> Iterator[None]:
        """Inside, of a batch only the tokens are computed that are ``read`` [b, T].

        Those left out get zeros from each part.
        """
        with ExitStack() as stack:
            for part in self._parts if read.any() else ():
                for hook in _narrowed(part, read):
                    stack.callback(hook.remove)
            yield


def _by_token(part: nn.Module | None) -> bool:
    """Whether each token goes its own way: experts may be full, and adapters look at the row."""
    return part is not None and not any(
        hasattr(module, "experts")
        or (isinstance(module, BaseTunerLayer) and not isinstance(module, LoraLayer))
        for module in part.modules()
    )


def _narrowed(part: nn.Module, read: Tensor) -> list[RemovableHandle]:
    count = int(read.sum())

    def narrow(_: nn.Module, args: tuple[Tensor, ...]) -> Tensor | None:
        return args[0][read][None] if args[0].shape[:-1] == read.shape else None

    def widen(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if args[0].shape[:-1] != (1, count):
            return None
        whole = output.new_zeros(*read.shape, output.shape[-1])
        whole[read] = output[0]
        return whole

    return [part.register_forward_pre_hook(narrow), part.register_forward_hook(widen)]
