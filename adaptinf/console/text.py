"""Numbers as people read them, and text that is safe to print anywhere."""

from __future__ import annotations

import os

_SECRETS = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "ADAPTINF_JUDGE_KEY",
    "ADAPTINF_SERVER_KEY",
    "ADAPTINF_API_TOKEN",
    "WANDB_API_KEY",
)


def count_text(count: int) -> str:
    """``1,280``."""
    return f"{count:,}"


def duration_text(seconds: float) -> str:
    """The two largest units that matter: ``4 s``, ``1 min 20 s``, ``2 h 5 min``, ``1 d 3 h``."""
    if 0 < seconds < 1:
        return "<1 s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def rate_text(per_second: float) -> str:
    """``412 rows/s``; two digits below 10, so that a slow model does not show as 0."""
    number = f"{per_second:,.0f}" if per_second >= 9.95 else f"{per_second:.2g}"
    return f"{number} rows/s"


def printable(text: str) -> str:
    """``text`` with spaces for whatever is neither printable nor a line break."""
    return "".join(mark if mark.isprintable() or mark == "\n" else " " for mark in text)


def scrubbed(text: str) -> str:
    """``text`` with the name of the variable in place of each secret of the environment."""
    for name in _SECRETS:
        value = os.environ.get(name, "").strip()
        if len(value) >= 8:  # no key is shorter, and common words may be
            text = text.replace(value, f"<{name}>")
    return text
