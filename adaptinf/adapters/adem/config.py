"""What an ADEM adapter is: the settings that ``adapter_config.json`` keeps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from peft import PeftConfig
from peft.utils import PeftType

from adaptinf.errors import UserError, suggestion

MODES = ("add", "replace")
_PAPER_DIM = 12


@dataclass
class AdemConfig(PeftConfig):
    """Settings of an ADEM adapter (Hao et al. 2024, section 3); names as in the paper.

    A plain dataclass, neither frozen nor with slots, because PEFT writes into it.

    Raises:
        UserError: an unknown mode, or numbers that cannot be.
    """

    target_modules: str | list[str] | None = None
    """A pattern for the feed-forward modules. None: those of all text layers, and those of the
    vision tower if ``adapter_dim`` is not 0."""
    exclude_modules: str | list[str] | None = None
    """Those of them that are left out."""
    modules_to_save: list[str] | None = None
    """Modules that are trained whole and saved with the adapter."""
    mode: str = "add"
    """``add``: image tokens stay in the sequence, and a fresh adapter changes nothing.
    ``replace``: as in the paper, they leave it, but for one [cls] token per image."""
    alpha: float = 0.1
    """Weight of the attention beside the feed-forward module."""
    beta: float = 0.01
    """Weight of the projected image in keys and values."""
    drop_ratio: float = 0.1
    """Share of a token's lowest scores that are set to zero; the paper's gamma."""
    down_sample_num: list[int] = field(default_factory=lambda: [256, 64])
    """Keys that each scale of an image gives; square numbers."""
    hidden_proj: int = 128
    """Width of the hidden layer between the vision tower's features and the text's."""
    adapter_dim: int | None = None
    """Width of the bottlenecks in the vision tower; 0 for none. None: 12, as in the paper, for
    ``replace``, and 0 for ``add``, since a tuned vision tower forgets."""
    adapter_scale: float = 0.1
    """Weight of a bottleneck."""
    dropout: float = 0.1
    """Dropout within the bottlenecks while training."""
    load_with: str = "import adaptinf.adapters.adem"
    """What to run before PEFT can read the folder: here for whoever opens the file to see why."""

    def __post_init__(self) -> None:
        """Check, and put the default of ``adapter_dim`` in its place."""
        super().__post_init__()
        self.peft_type = PeftType("ADEM")
        if self.mode not in MODES:
            raise _mistake("unknown mode", "mode", self.mode, suggestion(self.mode, MODES))
        if not 0 <= self.drop_ratio < 1:
            hint = "give a share from 0 to less than 1"
            raise _mistake("not a share of the scores", "drop_ratio", self.drop_ratio, hint)
        scales = self.down_sample_num
        if not scales or any(n < 1 or math.isqrt(n) ** 2 != n for n in scales):
            hint = "give square numbers, such as [256, 64]"
            raise _mistake("an image cannot be pooled so", "down_sample_num", scales, hint)
        if self.adapter_dim is None:
            self.adapter_dim = _PAPER_DIM if self.mode == "replace" else 0
        for key, least in (("adapter_dim", 0), ("hidden_proj", 1)):
            if getattr(self, key) < least:
                hint = f"give {least} or more"
                raise _mistake("no such width", key, getattr(self, key), hint)


def _mistake(what: str, key: str, seen: object, hint: str) -> UserError:
    return UserError(what, where=f"adapter.{key}", seen=seen, hint=hint)
