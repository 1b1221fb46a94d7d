"""What a server serves: the answers of a talker, and documents for a browser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from adaptinf.chat.talker import Bounds, Talker


@dataclass(frozen=True, slots=True)
class Document:
    """Something that is shown in a browser."""

    kind: str
    content: Callable[[], str]
    open: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """What is served: answers, and ``documents`` by path; ``open`` ones need no token."""

    talker: Talker
    token: str
    bounds: Bounds
    documents: Mapping[str, Document]
    frame: str = "auto"
    started: float = 0.0
