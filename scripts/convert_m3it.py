"""M3IT as JSON Lines, out of the loading script on the hub, which datasets 4 and later refuse.

Needs an environment of its own, with datasets 3.6.0 and pillow. Writes TASK/SUBSET/train.jsonl
below --out, with the records as the hub's script makes them: instruction, inputs, outputs and
image_base64_str. That script draws an instruction for every row; --seed makes the draw the same
each time. Subsets that are there are left alone, so that the same command goes on after a stop.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

REPO = "MMInstruction/M3IT"
COLUMNS = ("instruction", "inputs", "outputs", "image_base64_str")

TASKS: Mapping[str, Sequence[str]] = {
    "captioning": ("coco", "textcap", "image-paragraph-captioning"),
    "classification": (
        "coco-goi",
        "coco-text",
        "imagenet",
        "coco-itm",
        "snli-ve",
        "mocheg",
        "iqa",
    ),
    "vqa": ("vqa-v2", "shapes", "docvqa", "ocr-vqa", "st-vqa", "text-vqa", "gqa"),
    "kvqa": ("okvqa", "a-okvqa", "science-qa", "viquae"),
    "reasoning": ("clevr", "nlvr", "vcr", "visual-mrc", "winoground"),
    "generation": ("vist", "visual-dialog", "multi30k"),
    "chinese": ("fm-iqa", "coco-cn", "flickr8k-cn", "chinese-food", "mmchat"),
    "video": ("ss", "ivqa", "msvd-qa", "activitynet-qa", "msrvtt", "msrvtt-qa"),
}
"""Subsets by task, as Adapt-infinity groups them; subsets that the hub has besides are "other"."""

Load = Callable[[str], Iterable[Mapping[str, Any]] | None]


def convert(
    subsets: Sequence[str], out: Path, load: Load, *, seed: int, limit: int | None = None
) -> dict[str, int | None]:
    """Rows written of each subset; None for one without training rows.

    ``load`` gives the training rows of a subset. What the hub's script draws comes from ``seed``
    and the subset's name, whatever is converted before it.
    """
    task_of = {subset: task for task, names in TASKS.items() for subset in names}
    written: dict[str, int | None] = {}
    for subset in subsets:
        file = out / task_of.get(subset, "other") / subset / "train.jsonl"
        if file.is_file():
            with file.open("rb") as lines:
                written[subset] = sum(1 for _ in lines)
            continue
        random.seed(f"{seed} {subset}")
        rows = load(subset)
        if rows is None:
            written[subset] = None
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(".draft")
        count = 0
        with draft.open("w", encoding="utf-8") as lines:
            for row in islice(rows, limit):
                told = {name: row[name] for name in COLUMNS}
                lines.write(json.dumps(told, ensure_ascii=False) + "\n")
                count += 1
        draft.replace(file)
        written[subset] = count
    return written


def main() -> None:
    """Convert the subsets that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder, as in data/m3it/data")
    parser.add_argument("--subset", action="append", help="one of them; repeatable [all]")
    parser.add_argument("--limit", type=int, help="rows of each subset [all]")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    import datasets

    if int(datasets.__version__.split(".")[0]) >= 4:
        sys.exit(
            f"datasets {datasets.__version__} runs no loading scripts; install datasets==3.6.0"
        )
    every = datasets.get_dataset_config_names(REPO, trust_remote_code=True)
    unknown = sorted(set(arguments.subset or ()) - set(every))
    if unknown:
        sys.exit(f"no such subset: {', '.join(unknown)}; known: {', '.join(every)}")

    def load(subset: str) -> Any:
        builder = datasets.load_dataset_builder(
            REPO, subset, trust_remote_code=True, cache_dir=str(arguments.out / ".cache")
        )
        builder.download_and_prepare()
        return builder.as_dataset("train") if "train" in builder.info.splits else None

    written = convert(
        arguments.subset or every, arguments.out, load, seed=arguments.seed, limit=arguments.limit
    )
    shutil.rmtree(arguments.out / ".cache", ignore_errors=True)
    for subset, count in written.items():
        print(f"{subset}: {'no training rows' if count is None else f'{count:,} rows'}")


if __name__ == "__main__":
    main()
