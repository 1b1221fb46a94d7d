"""Questions of a run's benchmarks, for people to begin with."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from adaptinf.chat.experience import Example, first_questions
from adaptinf.errors import UserError

SHOWN = 6
BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Opening:
    """A question with its images as data URLs."""

    skill: str
    text: str
    images: tuple[str, ...]


def openings_json(run: Path) -> str:
    """One question for each of some skills, as JSON; none where the run has no benchmarks."""
    return json.dumps([asdict(opening) for opening in openings(run)])


def openings(run: Path) -> list[Opening]:
    """Of each skill its first question, those with images before others."""
    try:
        known = first_questions(run)
    except UserError:
        return []
    firsts: dict[str, Example] = {}
    for question in known:
        firsts.setdefault(question.skill, question)
    ordered = sorted(firsts.values(), key=lambda question: not question.images)
    # The last one has no image, if there is one without.
    some = [*ordered[: SHOWN - 1], *ordered[SHOWN - 1 :][-1:]]
    found = (_opening(question) for question in some)
    return [opening for opening in found if opening is not None]


def _opening(question: Example) -> Opening | None:
    if sum(path.stat().st_size for path in question.images) > BYTES:
        return None
    images = tuple(map(_data_url, question.images))
    return Opening(question.skill, question.text.strip(), images)


def _data_url(path: Path) -> str:
    with Image.open(path) as image:
        kind = Image.MIME.get(str(image.format), "image/png")
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
