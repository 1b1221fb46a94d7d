"""Keep the bars and notices of other libraries out of the walk."""

from __future__ import annotations

import logging
import os
import sys
import warnings


def quiet_libraries() -> None:
    """Turn off the progress bars of Hugging Face libraries and all their messages but errors.

    Imports none of them: those still to be imported read the environment. What the user has set
    there already stays.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for module in ("transformers", "peft", "torch.distributed"):
        warnings.filterwarnings("ignore", category=FutureWarning, module=module)
    if hub := sys.modules.get("huggingface_hub.utils"):
        hub.disable_progress_bars()
    if datasets := sys.modules.get("datasets"):
        datasets.disable_progress_bars()
    # DeepSpeed says on standard output, at import, what it computes on.
    logging.getLogger("DeepSpeed").addFilter(_is_not_about_the_device)
    # And bitsandbytes, at every product of matrices in 8 bits, that it computes them in float16.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if messages := sys.modules.get("transformers.utils.logging"):
        messages.disable_progress_bar()
        if os.environ["TRANSFORMERS_VERBOSITY"] == "error":
            messages.set_verbosity_error()


def _is_not_about_the_device(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(
        ("Setting accelerator to", "Setting ds_accelerator to")
    )
