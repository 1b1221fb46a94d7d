"""Names a recipe may use for datasets and formats; imports nothing, so that help stays fast."""

from __future__ import annotations

DATASETS: tuple[str, ...] = ("llava", "m3it", "minigpt4", "mantis", "vision_flan")

FORMATS: tuple[str, ...] = ("llava", "m3it", "minigpt4", "mantis", "vision_flan")
