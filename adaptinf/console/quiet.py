"""Keep the bars and notices of other libraries out of the walk."""

from __future__ import annotations

import os
import sys


def quiet_libraries() -> None:
    """Turn off the progress bars of Hugging Face libraries and all their messages but errors.

    Imports none of them: those still to be imported read the environment. What the user has set
    there already stays.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if hub := sys.modules.get("huggingface_hub.utils"):
        hub.disable_progress_bars()
    if datasets := sys.modules.get("datasets"):
        datasets.disable_progress_bars()
    if logging := sys.modules.get("transformers.utils.logging"):
        logging.disable_progress_bar()
        if os.environ["TRANSFORMERS_VERBOSITY"] == "error":
            logging.set_verbosity_error()
