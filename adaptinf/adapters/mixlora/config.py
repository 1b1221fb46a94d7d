"""What a MixLoRA adapter is: the settings that ``adapter_config.json`` keeps."""

from __future__ import annotations

from dataclasses import dataclass

from peft import PeftConfig
from peft.utils import PeftType

from adaptinf.errors import UserError, suggestion

ROUTINGS = ("input", "input_lora_a_param")
ROUTERS = ("learned", "frozen")


@dataclass
class MixLoraConfig(PeftConfig):
    """Settings of a MixLoRA adapter (Shen et al. 2024, section 3); names as in its scripts.

    A plain dataclass, neither frozen nor with slots, because PEFT writes into it.

    Raises:
        UserError: an unknown routing or kind of router, or numbers that do not fit together.
    """

    target_modules: str | list[str] | None = None
    """Linear modules of the text layers, by a pattern for whole names, or by ends of names."""
    exclude_modules: str | list[str] | None = None
    """Those of them that are left out."""
    modules_to_save: list[str] | None = None
    """Modules that are trained whole and saved with the adapter; the paper: the projector."""
    num_experts: int = 16
    """Factors in each of the two pools of a module. The paper: 16 and 32."""
    rank: int = 4
    """Factors of each pool that one row uses. The paper: 2, 4, 8."""
    alpha: float | None = None
    """The update is scaled by alpha / rank. None: 2 * num_experts, as in the authors' scripts."""
    dropout: float = 0.05
    """Dropout of the adapter's input while training."""
    routing: str = "input"
    """``input``: both choices look at the row's prompt (the paper's instance-based selection, IFS).
    ``input_lora_a_param``: that of B also looks at the A factors chosen (conditional, CFS)."""
    conditional_weight: float = 1.0
    """Weight of the conditional part of B's choice; the authors' ``ifs_weight``."""
    conditional_again: bool = False
    """Whether the conditional part goes through a softmax once more after its sum, as in the
    authors' code (``CMoALoRA2B_Selector``), which their checkpoints were trained by."""
    routers: str = "learned"
    """``learned``: straight-through. ``frozen``: as in the paper's code, whose routers get no
    gradient and so choose by random projections for ever."""
    load_with: str = "import adaptinf.adapters.mixlora"
    """What to run before PEFT can read the folder: here for whoever opens the file to see why."""

    def __post_init__(self) -> None:
        """Check, and put the default of ``alpha`` in its place."""
        super().__post_init__()
        self.peft_type = PeftType("MIXLORA")
        for key, known in (("routing", ROUTINGS), ("routers", ROUTERS)):
            value = getattr(self, key)
            if value not in known:
                raise _mistake(f"unknown {key}", key, value, suggestion(str(value), known))
        if not 1 <= self.rank <= self.num_experts:
            hint = f"give 1 to {self.num_experts} (num_experts)"
            raise _mistake("a row cannot use that many factors", "rank", self.rank, hint)
        if self.conditional_weight <= 0:
            hint = "give a positive number, or routing 'input' for none"
            raise _mistake("no weight", "conditional_weight", self.conditional_weight, hint)
        if self.alpha is None:
            self.alpha = 2.0 * self.num_experts

    @property
    def scaling(self) -> float:
        """The factor ``alpha / rank`` of the update."""
        return (self.alpha or 0.0) / self.rank


def _mistake(what: str, key: str, seen: object, hint: str) -> UserError:
    return UserError(what, where=f"adapter.{key}", seen=seen, hint=hint)
