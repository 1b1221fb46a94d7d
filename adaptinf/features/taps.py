"""What passes through the matrices of one layer in a forward pass, and its backward signal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from adaptinf.errors import UserError
from adaptinf.features.factors import Factor

Matrices = Literal["auto", "adapter", "weights"]


@contextmanager
def scoring_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode (no dropout) and frozen weights inside; every flag as it was afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        model.eval()
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter in trainable:
            parameter.requires_grad_(True)


@dataclass(slots=True, eq=False)
class LoraPair:
    """The two matrices of one LoRA module and what passed through them in this forward.

    For y = W x + s B A x with g the gradient of the loss by (B A x), which has s in it already:
    dB = g^T (A x) and dA = (g B)^T x.
    """

    name: str
    lower: nn.Linear
    upper: nn.Linear
    dora: bool
    heard: dict[str, Tensor] = field(default_factory=dict)

    def listen(self) -> list[RemovableHandle]:
        """Hooks on both matrices."""
        return [
            self.lower.register_forward_pre_hook(self._hear_input),
            self.upper.register_forward_hook(self._hear_output),
        ]

    def factors(self, signal: Tensor) -> Iterator[Factor]:
        """Those of B and of A, given the ``signal`` [b, T, out] by B's output."""
        ax, x = (_by_row(self.heard[name], signal) for name in ("ax", "x"))
        yield Factor(f"{self.name}.B", signal, ax)
        yield Factor(f"{self.name}.A", x, signal @ self.upper.weight)

    def _hear_input(self, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        if self._are_tokens(args[0]):
            self.heard["x"] = args[0].detach()

    def _hear_output(self, _: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        if self._are_tokens(args[0]):
            self.heard["ax"] = args[0].detach()
            # With all weights frozen this is where the graph begins; below the layer there is none.
            self.heard["output"] = output.requires_grad_(True)

    def _are_tokens(self, passed: Tensor) -> bool:
        """DoRA sends an identity matrix through A and B too; OPT lays all rows' tokens in one."""
        return passed.ndim == 3 or not self.dora


@dataclass(slots=True, eq=False)
class Weight:
    """One weight W of the model itself, y = W x, under whatever adapter: dW = g^T x."""

    name: str
    module: nn.Linear
    heard: dict[str, Tensor] = field(default_factory=dict)

    def listen(self) -> list[RemovableHandle]:
        """A hook on the module."""
        return [self.module.register_forward_hook(self._hear)]

    def factors(self, signal: Tensor) -> Iterator[Factor]:
        """That of W, given the ``signal`` [b, T, out] by its output."""
        yield Factor(f"{self.name}.W", signal, _by_row(self.heard["x"], signal), thin=False)

    def _hear(self, _: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        self.heard["x"] = args[0].detach()
        self.heard["output"] = output.requires_grad_(True)


class LayerTaps:
    """Listens to matrices of one layer for one forward pass at a time.

    If the loss is the sum of one loss per row, row b of a backward signal is the gradient that a
    batch of that row alone would have given.
    """

    def __init__(self, layer: nn.Module, where: str, matrices: Matrices = "auto") -> None:
        """Taps on ``layer``, which messages call ``where``.

        ``adapter``: on its active LoRA matrices. ``weights``: on the linear modules that the model
        has without an adapter, but for experts, which see each a part of the tokens. ``auto``: on
        LoRA's where there are such.

        Raises:
            UserError: the layer has no such matrices, or LoRA's are merged or switched off; there
                is no such choice.
        """
        if matrices not in get_args(Matrices):
            hint = "give adapter, weights, zero-order or auto"
            raise UserError("no such gradients", where="gradients", seen=matrices, hint=hint)
        pairs = [] if matrices == "weights" else lora_pairs(layer)
        self._taps: Sequence[LoraPair | Weight] = pairs
        if not pairs and matrices != "adapter":
            self._taps = [Weight(name, module) for name, module in _weights(layer)]
        if not self._taps:
            kind = "linear modules" if matrices == "weights" else "active LoRA modules"
            raise UserError(
                f"{where} has no {kind}",
                hint="attach LoRA to it, unmerged and switched on, or choose another layer",
            )
        self.matrices: Matrices = "adapter" if pairs else "weights"

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hooks are in place inside; what they heard is forgotten afterwards."""
        handles = [handle for tap in self._taps for handle in tap.listen()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            for tap in self._taps:
                tap.heard.clear()

    def factors(self, losses: Tensor, scale: float) -> Iterator[Factor]:
        """The factors of the gradients of each row's loss [b].

        The backward pass runs on ``scale`` times the losses, and so are the factors' gradients.
        """
        heard = [tap for tap in self._taps if "output" in tap.heard]
        signals = torch.autograd.grad(
            losses,
            [tap.heard["output"] for tap in heard],
            grad_outputs=torch.full_like(losses, scale),
            materialize_grads=True,
        )
        for tap, signal in zip(heard, signals, strict=True):
            yield from tap.factors(signal.reshape(len(losses), -1, signal.shape[-1]))


def lora_pairs(layer: nn.Module) -> list[LoraPair]:
    """The active LoRA matrices below ``layer``."""
    return [
        LoraPair(
            f"{name}.{adapter}",
            module.lora_A[adapter],
            module.lora_B[adapter],
            dora=module.use_dora.get(adapter, False),
        )
        for name, module in layer.named_modules()
        if hasattr(module, "lora_B") and not (module.merged or module.disable_adapters)
        for adapter in module.active_adapters
        if adapter in module.lora_B
    ]


def _weights(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Linear]]:
    """Linear modules, named as without an adapter, those of adapters and experts left out."""
    if isinstance(module, nn.Linear) and not isinstance(module, BaseTunerLayer):
        yield name, module
    own = module.adapter_layer_names if isinstance(module, BaseTunerLayer) else ()
    for part, child in module.named_children():
        if part not in (*own, "experts"):
            below = name if part == "base_layer" else f"{name}.{part}".strip(".")
            yield from _weights(child, below)


def _by_row(tokens: Tensor, like: Tensor) -> Tensor:
    """Tokens as [b, T, side]; OPT lays those of all rows in one."""
    return tokens.reshape(len(like), -1, tokens.shape[-1])
