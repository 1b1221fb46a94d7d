"""All datasets of the embedded world as one: what training on all tasks at once draws from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from adaptinf.data import readers
from adaptinf.data.rows import RawRow
from adaptinf.data.source import Source, find_source
from adaptinf.data.world.build import WorldSizes


def read(source: Source, media: Path) -> Iterator[RawRow]:
    """The rows of every dataset in the world's folder ``source.annotations``, one after another.

    Image paths start at ``source.images``, which holds the world and the run's own images alike.
    """
    root, number = source.annotations, 0
    for name in WorldSizes().datasets:
        if not (root / name).is_dir():
            continue
        part = find_source(name, root=root, media=media, recipe_dir=root)
        start = Path(os.path.relpath(part.images, source.images))
        for row in readers.read(part, media):
            images = tuple(str(start / image) for image in row.images)
            yield replace(row, row=number, source_id=f"{name}/{row.source_id}", images=images)
            number += 1
