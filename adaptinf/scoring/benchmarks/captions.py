"""Captions: of COCO by several references, of the Chinese sets by one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adaptinf.scoring import uploads
from adaptinf.scoring.benchmarks.shared import conversations
from adaptinf.scoring.captions import bleu, character_bleu, cider, rouge_l
from adaptinf.scoring.files import each, field_of, has, json_file, one_file, rows_of
from adaptinf.scoring.items import Benchmark, Item, Totals, Verdict, percent
from adaptinf.scoring.tokens import caption_tokens

ASK = "Provide a one-sentence caption for the provided image."


def _coco(place: Path) -> list[Item]:
    """A question for each image; its id is the image's. Test splits have images alone."""
    file = one_file(
        place,
        "captions_val2014.json",
        "annotations/captions_val2014.json",
        "captions_*.json",
        "image_info_*.json",
    )
    content = json_file(file)
    names = dict(
        each(
            rows_of(content, file, "images"),
            file,
            lambda row: (row["id"], row.get("file_name", f"COCO_val2014_{row['id']:012}.jpg")),
        )
    )
    references: dict[Any, list[str]] = {}
    if has(content, "annotations"):
        pairs = each(
            rows_of(content, file, "annotations"),
            file,
            lambda row: (row["image_id"], field_of(row, "caption", str)),
        )
        for image, caption in pairs:
            references.setdefault(image, []).append(caption)
    return [
        Item(str(image), ASK, (names[image],) if image in names else (), references.get(image))
        for image in dict.fromkeys([*references, *names])
    ]


def _keep(item: Item, text: str, rules: str) -> Verdict:
    """A caption's worth depends on all others; here it is ROUGE-L, which does not."""
    others = [caption_tokens(reference) for reference in item.right]
    score = rouge_l(caption_tokens(text), others)
    return Verdict(score, score, text)


def _judge_characters(item: Item, text: str, rules: str) -> Verdict:
    score = character_bleu(text, item.right)
    return Verdict(score, score, text)


def _total_coco(items: Sequence[Item], verdicts: Sequence[Verdict], rules: str) -> Totals:
    """CIDEr-D, BLEU and ROUGE-L over the corpus, times 100."""
    said = [caption_tokens(verdict.said or "") for verdict in verdicts]
    others = [[caption_tokens(reference) for reference in item.right] for item in items]
    scores = bleu(said, others)
    totals = {"CIDEr": percent(cider(said, others))}
    totals |= {f"BLEU-{n}": 100 * score for n, score in enumerate(scores, 1)}
    return totals | {"ROUGE-L": percent([verdict.score for verdict in verdicts])}


def _total_characters(items: Sequence[Item], verdicts: Sequence[Verdict], rules: str) -> Totals:
    return {"BLEU-4 over characters": percent([verdict.score for verdict in verdicts])}


BENCHMARKS = (
    Benchmark(
        "coco_captions",
        ("official",),
        "captions_val2014.json, or one of the same form for another split",
        _coco,
        _keep,
        _total_coco,
        "pycocoevalcap, with a tokenizer of our own in place of its Java one",
        kind="ROUGE-L",
        upload=uploads.CAPTIONS,
    ),
    Benchmark(
        "chinese_captions",
        ("adapt-inf",),
        "a JSON list of conversations, the first answer being the reference",
        conversations,
        _judge_characters,
        _total_characters,
        "Adapt-infinity, for COCO-CN and Flickr8k-CN",
        kind="BLEU-4 over characters",
    ),
)
