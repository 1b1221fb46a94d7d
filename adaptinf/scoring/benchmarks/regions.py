"""Regions of images: RefCOCO's boxes, and text read in a region."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptinf.scoring.benchmarks.shared import targets
from adaptinf.scoring.boxes import Box, box_in, overlap, pixels_of, share_of
from adaptinf.scoring.files import each, one_file, table_rows
from adaptinf.scoring.items import Benchmark, Item, Totals, Verdict, percent
from adaptinf.scoring.transcription import similarity

FIND = "Please provide the bounding box coordinate of the region this sentence describes: {text}."


@dataclass(frozen=True, slots=True)
class Region:
    """A box in pixels, and the size of its image."""

    box: Box
    width: float
    height: float

    def __str__(self) -> str:
        shares = share_of(self.box, self.width, self.height)
        return f"[{', '.join(f'{share:.2f}' for share in shares)}]"


def _refcoco(place: Path) -> list[Item]:
    """A table of references, of one split; a question for each of their sentences."""
    file = one_file(place, "*testA*.parquet", "data/testA-*.parquet", "*.parquet")
    columns = ["ref_id", "sentences", "bbox", "image_path", "raw_image_info"]
    rows = table_rows(file, columns)

    def items(row: Any) -> list[Item]:
        info = json.loads(row["raw_image_info"])
        if not (info["width"] > 0 and info["height"] > 0):
            raise ValueError(f"an image of {info['width']} x {info['height']}")
        left, top, right, bottom = row["bbox"]
        region = Region((left, top, right, bottom), float(info["width"]), float(info["height"]))
        image = row["image_path"].removeprefix("coco/")
        return [
            Item(
                f"{row['ref_id']}-{number}",
                FIND.format(text=sentence["sent"]),
                (image,),
                region,
                {"sentence": "first" if not number else "further"},
            )
            for number, sentence in enumerate(row["sentences"])
        ]

    return [item for found in each(rows, file, items) for item in found]


def _judge_box(item: Item, text: str, rules: str) -> Verdict:
    shares = box_in(text)
    if shares is None:
        return Verdict(0.0, 0.0, None)
    region = item.right

    def hit(frame: str, edge: float) -> float:
        return overlap(pixels_of(shares, region.width, region.height, frame), region.box, edge=edge)

    lenient = max(hit("original", 0), hit("padded", 0)) >= 0.5
    if rules == "adapt-inf":
        right = hit("original", 1) > 0.5
    else:
        right = hit("padded" if rules == "padded" else "original", 0) >= 0.5
    return Verdict.of(right, str(list(shares)), lenient)


def _total_boxes(items: Sequence[Item], verdicts: Sequence[Verdict], rules: str) -> Totals:
    """Boxes that cover half; by Adapt-infinity's rules of the first sentence of each reference."""
    first = rules == "adapt-inf"
    counted = [
        verdict
        for item, verdict in zip(items, verdicts, strict=True)
        if not first or item.groups["sentence"] == "first"
    ]
    return {
        "accuracy at IoU 0.5": percent([verdict.score for verdict in counted]),
        "no box": percent([float(verdict.said is None) for verdict in counted]),
    }


def _judge_text(item: Item, text: str, rules: str) -> Verdict:
    score = similarity(text, item.right)
    return Verdict(score, similarity(text.casefold(), item.right.casefold()), text)


def _total_text(items: Sequence[Item], verdicts: Sequence[Verdict], rules: str) -> Totals:
    exact = [float(v.said == i.right) for i, v in zip(items, verdicts, strict=True)]
    return {"1-NED": percent([verdict.score for verdict in verdicts]), "exact": percent(exact)}


BENCHMARKS = (
    Benchmark(
        "refcoco",
        ("official", "padded", "adapt-inf"),
        "a Parquet file of jxu124/refcoco, as in data/testA-00000-of-00001.parquet",
        _refcoco,
        _judge_box,
        _total_boxes,
        "IoU of 0.5; shares of the image, or of the square it is padded to; no box is wrong",
    ),
    Benchmark(
        "transcription",
        ("exact",),
        "a JSON Lines file of unique_id, prompt, target",
        targets,
        _judge_text,
        _total_text,
        "1 - normalised edit distance",
    ),
)
