"""Pictures inside the page: thumbnails as data URIs, and a few rows that each step selected."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from adaptinf.data.images import BadImage, locate
from adaptinf.data.sample import IMAGE_MARK, Sample
from adaptinf.report.findings import Findings
from adaptinf.report.wording import shortened

SIDE = 96
PNG_LIMIT = 6_000
TEXT_LIMIT = 160
TRIES_PER_GROUP = 4


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture of at most 96 pixels a side; ``tiny`` ones are enlarged pixel by pixel."""

    uri: str
    tiny: bool


@dataclass(frozen=True, slots=True)
class Tile:
    """One selected row: ``note`` says what the picture does not show."""

    picture: Thumbnail | None
    note: str
    dataset: str
    cluster: int | None
    question: str
    answer: str


def thumbnail(root: Path | None, path: str) -> Thumbnail | None:
    """The image ``path`` under ``root``, or None where it cannot be shown.

    Paths come from datasets, so that none may lead out of the root.
    """
    if root is None:
        return None
    try:
        with Image.open(locate(root, path)) as image:
            image.draft("RGB", (2 * SIDE, 2 * SIDE))
            small = image.convert("RGB")
    except (BadImage, OSError, ValueError, Image.DecompressionBombError):
        return None
    small.thumbnail((SIDE, SIDE))
    raw, kind = _encoded(small, "PNG", optimize=True), "png"
    if len(raw) > PNG_LIMIT:
        raw, kind = _encoded(small, "JPEG", quality=80), "jpeg"
    uri = f"data:image/{kind};base64,{base64.b64encode(raw).decode('ascii')}"
    return Thumbnail(uri, tiny=max(small.size) <= SIDE // 2)


def plain(text: str) -> str:
    """A question or an answer as a caption: no image marks, one line, not too long."""
    return shortened(text.replace(IMAGE_MARK, " "), TEXT_LIMIT)


def selected_tiles(findings: Findings, step: str, limit: int) -> list[Tile]:
    """At most ``limit`` rows that ``step`` selected, from as many clusters as there are.

    Larger clusters come first; where there are no clusters, datasets take their place. Rows whose
    picture can be shown go before the others of their group.
    """
    folder = findings.folder / "steps" / step
    chosen, pool = folder / "select" / "selection.parquet", folder / "ingest" / "pool.parquet"
    if not (chosen.is_file() and pool.is_file()):
        return []
    groups = _largest_groups(chosen, limit)
    wanted = [uid for group in groups.values() for uid in group]
    rows = _pool_rows(pool, wanted)
    columns = []
    for name, uids in groups.items():
        cluster = name if isinstance(name, int) else None
        tiles = [_tile(findings, rows[uid], cluster) for uid in uids if uid in rows]
        columns.append(sorted(tiles, key=lambda tile: tile.picture is None))
    in_turn: Iterable[Tile | None] = chain.from_iterable(zip_longest(*columns))
    return [tile for tile in in_turn if tile is not None][:limit]


def _largest_groups(selection: Path, limit: int) -> dict[int | str, list[str]]:
    """A few uids of the largest clusters (by number) or datasets (by name), largest first.

    Rows stand in order of arrival, so each group begins at another place in its own.
    """
    table = pq.read_table(selection, columns=["uid", "dataset", "cluster"])
    groups: dict[int | str, list[str]] = {}
    for row in table.to_pylist():
        name = row["dataset"] if row["cluster"] is None else row["cluster"]
        groups.setdefault(name, []).append(row["uid"])
    largest = sorted(groups.items(), key=lambda group: -len(group[1]))[:limit]
    tries = {}
    for place, (name, uids) in enumerate(largest):
        start = len(uids) * place // limit
        tries[name] = (uids[start:] + uids[:start])[:TRIES_PER_GROUP]
    return tries


def _pool_rows(pool: Path, uids: list[str]) -> dict[str, dict[str, Any]]:
    columns = ["uid", "dataset", "images", "turns"]
    table = pq.read_table(pool, columns=columns, filters=pc.field("uid").isin(uids))
    return {row["uid"]: row for row in table.to_pylist()}


def _tile(findings: Findings, row: dict[str, Any], cluster: int | None) -> Tile:
    texts = {"user": "", "assistant": ""}
    for turn in reversed(row["turns"]):
        texts[turn["role"]] = turn["text"]
    images = row["images"] or []
    return _shown(findings.image_roots.get(row["dataset"]), row["dataset"], images, texts, cluster)


def pool_tile(roots: Mapping[str, Path], sample: Sample) -> Tile:
    """A row of a pool, of no cluster that is known."""
    texts = {"user": "", "assistant": ""}
    for turn in reversed(sample.turns):
        texts[turn.role] = turn.text
    return _shown(roots.get(sample.dataset), sample.dataset, sample.images, texts, None)


def _shown(
    root: Path | None,
    dataset: str,
    images: Sequence[str],
    texts: Mapping[str, str],
    cluster: int | None,
) -> Tile:
    picture = thumbnail(root, images[0]) if images else None
    if not images:
        note = "text only"
    elif picture is None:
        note = "image not found"
    else:
        note = f"first of {len(images)} images" if len(images) > 1 else ""
    return Tile(picture, note, dataset, cluster, plain(texts["user"]), plain(texts["assistant"]))


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
