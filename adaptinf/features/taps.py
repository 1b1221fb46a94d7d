"""Per-sample LoRA gradients of one layer from its activations and their backward signal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from adaptinf.errors import UserError


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


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """One LoRA matrix's per-sample gradients [b, side, rank] = wide^T narrow, summed over tokens.

    ``wide`` [b, T, side] and ``narrow`` [b, T, rank] have the rank of the adapter on the narrow
    side: for B they are the backward signal and A x, for A they are x and the signal times B.
    """

    name: str
    wide: Tensor
    narrow: Tensor

    def gradient(self) -> Tensor:
        """The gradients of all samples, in float32 at least; A's stand transposed."""
        work = torch.promote_types(self.wide.dtype, torch.float32)
        return (self.wide.transpose(1, 2) @ self.narrow).to(work)


@dataclass(slots=True, eq=False)
class _Pair:
    """The two matrices of one LoRA module and what passed through them in this forward."""

    name: str
    lower: nn.Linear
    upper: nn.Linear
    dora: bool
    heard: dict[str, Tensor] = field(default_factory=dict)

    def listen(self) -> list[torch.utils.hooks.RemovableHandle]:
        return [
            self.lower.register_forward_pre_hook(self._hear_input),
            self.upper.register_forward_hook(self._hear_output),
        ]

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


class LayerTaps:
    """Listens to the LoRA modules of one layer for one forward pass at a time.

    For y = W x + s B A x with g the gradient of the loss by (B A x), which has s in it already:
    dB = g^T (A x) and dA = (g B)^T x. If the loss is the sum of one loss per row, row b of g is the
    gradient that a batch of that row alone would have given.
    """

    def __init__(self, layer: nn.Module, where: str) -> None:
        """Taps on every active adapter matrix in ``layer``, which messages call ``where``.

        Raises:
            UserError: the layer has no active LoRA matrices, or they are merged or switched off.
        """
        self._pairs = [
            _Pair(
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
        if not self._pairs:
            raise UserError(
                f"{where} has no active LoRA modules",
                hint="attach LoRA to it, unmerged and switched on, or choose another layer",
            )

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hooks are in place inside; what they heard is forgotten afterwards."""
        handles = [handle for pair in self._pairs for handle in pair.listen()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            for pair in self._pairs:
                pair.heard.clear()

    def factors(self, losses: Tensor, scale: float) -> Iterator[Factor]:
        """The factors of the gradients of each row's loss [b], two per LoRA module.

        The backward pass runs on ``scale`` times the losses, and so are the factors' gradients.
        """
        heard = [pair for pair in self._pairs if "output" in pair.heard]
        signals = torch.autograd.grad(
            losses,
            [pair.heard["output"] for pair in heard],
            grad_outputs=torch.full_like(losses, scale),
            materialize_grads=True,
        )
        for pair, flat in zip(heard, signals, strict=True):
            signal, ax, x = (
                tokens.reshape(len(losses), -1, tokens.shape[-1])
                for tokens in (flat, pair.heard["ax"], pair.heard["x"])
            )
            yield Factor(f"{pair.name}.B", signal, ax)
            yield Factor(f"{pair.name}.A", x, signal @ pair.upper.weight)
