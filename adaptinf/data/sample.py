"""The one row type that every reader emits and every later stage reads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

IMAGE_MARK = "<image>"

Role = Literal["user", "assistant"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One utterance. ``<image>`` marks inside ``text`` stand where the images are read."""

    role: Role
    text: str


def marked(text: str, n_images: int) -> str:
    """The text after as many image marks as images, a line each."""
    return f"{IMAGE_MARK}\n" * n_images + text


@dataclass(frozen=True, slots=True)
class Sample:
    """A training row.

    ``uid`` is ``dataset:`` and the first 20 hex digits of ``digest``: unique for ever, and the same
    when a later version of the file holds the same row. ``digest`` is the SHA-256 of text and image
    bytes. ``images`` are paths relative to the dataset's image root. User turns and assistant turns
    alternate, the user begins, and the marks in all turns number exactly ``len(images)``.
    ``licence`` is None where it is not known. ``source`` is the set and the part of it that the row
    comes from, as in ``m3it/okvqa``.
    """

    uid: str
    digest: str
    source_id: str
    dataset: str
    licence: str | None
    task: str | None
    skill: str | None
    images: tuple[str, ...]
    turns: tuple[Turn, ...]
    source: str | None = None


def sample_digest(turns: Sequence[Turn], image_digests: Sequence[str]) -> str:
    """SHA-256 over roles, texts and image digests, each prefixed with its length."""
    fields = [field.encode() for turn in turns for field in (turn.role, turn.text)]
    fields += [digest.encode() for digest in image_digests]
    parts = [part for field in fields for part in (len(field).to_bytes(8, "little"), field)]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def sample_uid(dataset: str, digest: str) -> str:
    """``dataset:digest[:20]``."""
    return f"{dataset}:{digest[:20]}"
