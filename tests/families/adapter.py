"""An adapter that changes what the model says, as one in the middle of its training would."""

from __future__ import annotations

import torch
from peft import PeftModel

from adaptinf.adapters import attach
from tests.families.family import Family


def adapted(family: Family) -> PeftModel:
    """The family's model with LoRA of rank 4, no matrix of which is zero, in evaluation mode."""
    model = attach(family.build(), r=4, alpha=8)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    return model.eval()
