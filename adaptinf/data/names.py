"""Names a recipe may use for datasets and formats; imports nothing, so that help stays fast."""

from __future__ import annotations

DATASETS: tuple[str, ...] = (
    "llava",
    "m3it",
    "minigpt4",
    "mantis",
    "vision_flan",
    "lamm",
    "scienceqa",
    "coco_captions",
    "lavin",
    "refcoco",
    "art",
    "coco_text",
)

FORMATS = DATASETS
"""A format bears the name of the dataset that it comes from; llava is everyone's own."""
