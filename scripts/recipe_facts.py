"""What the forecast of the recipes rests on: a GPU, datasets and benchmarks as published.

Nothing of this was measured here. Rows and GB are those that the datasets' pages, cards or authors
tell, rounded where they differ.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench_scale import RATE

BANDWIDTH = 1e12
"""Bytes a second that a GPU reads of its memory. Decoding reads all weights for each token."""
SMALL_RATE = RATE / 4
"""A GPU of a quarter of that rate, for the recipe that is meant for one."""
LOOK = 0.25
"""Share of the text layers that the first look passes (``adaptinf/features/glance.py``)."""

LONG, SHORT, CAPTIONED = 225, 100, 50
"""Text tokens of a row: LLaVA's, as docs/performance.md has them, of a question with its answer, of
a caption with what asks for it."""
ANSWER, CAPTION = 5, 20
"""Tokens of an answer to a benchmark."""


@dataclass(frozen=True, slots=True)
class Data:
    """A dataset as published: rows, text tokens and images of one, GB of labels and of images.

    GB are None where no page tells them. ``guessed``: the number of rows is nobody's count.
    """

    rows: int
    text: int
    labels: float | None
    images: float | None
    per_row: float = 1.0
    guessed: bool = False


DATA = {
    # Images: a repack of all on the hub. 40,688 rows are text alone.
    "llava": Data(665_298, LONG, 1.03, 79.5, per_row=624_610 / 665_298),
    # Rows: the train splits of its card; GB: a copy of it as Parquet.
    "m3it": Data(1_589_320, SHORT, 76.2, 0.0),
    "minigpt4": Data(3_439, LONG, None, None),
    "mantis": Data(347_000, SHORT, None, None, guessed=True),
    # Images: three of its four archives.
    "lamm": Data(186_000, LONG, 0.325, None),
    "vision_flan": Data(186_103, SHORT, 0.11, 36.3),
    "scienceqa": Data(12_726, SHORT, 0.03, 0.55, per_row=0.49),
    "coco_captions": Data(414_113, CAPTIONED, 0.24, 13.0),
    "lavin": Data(210_000, LONG, None, 13.55, per_row=0.75, guessed=True),
    "refcoco": Data(120_624, SHORT, None, 13.0),
    "art": Data(50_000, SHORT, None, None, guessed=True),
    "coco_text": Data(150_000, SHORT, None, 13.0, guessed=True),
}

QUESTIONS = {
    "gqa": (12_578, 20.3),
    "vqav2": (214_354, 6.0),
    "vizwiz": (4_319, None),
    "textvqa": (5_000, 6.6),
    "scienceqa": (4_241, 0.16),
    "pope": (8_910, 6.0),
    "mmbench": (4_377, None),
    "mmmu": (900, None),
    "mmlu": (1_531, 0.01),
    "mme": (2_374, None),
    "refcoco": (5_657, 13.0),
    "coco_captions": (40_504, 6.0),
}
"""Questions of a benchmark, and GB with its images."""
VAL2014 = ("vqav2", "pope", "coco_captions")
"""Those that share COCO's validation images."""
