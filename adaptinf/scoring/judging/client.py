"""A judge behind an address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from adaptinf.data.completions import ChatServer
from adaptinf.scoring.judging.verdicts import LONGEST

KEY = "ADAPTINF_JUDGE_KEY"
"""The environment variable of its key."""


@dataclass(slots=True)
class Judge(ChatServer):
    """A model that says what answers are worth."""

    part: ClassVar[str] = "judge"
    option: ClassVar[str] = "--judge"
    variable: ClassVar[str] = KEY
    kept: ClassVar[str] = "what was judged is kept"
    goes_on: ClassVar[str] = "what was judged is kept; the same command goes on from here"
    longest: ClassVar[int] = LONGEST
