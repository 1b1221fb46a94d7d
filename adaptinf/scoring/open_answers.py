"""Open answers of MMMU: phrases and numbers near the end of a text."""

from __future__ import annotations

import re
from collections.abc import Sequence

_HINTS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_EMPTY = frozenset({":", ",", ".", "!", "?", ";", "'"})
_WITH_COMMAS = re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b")
_SCIENTIFIC = re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+")
_SIMPLE = re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])")

Found = str | float


def mmmu_open(text: str) -> list[Found]:
    """What an answer says: its key phrases and the numbers in it, in MMMU's form."""
    phrases = _key_phrases(text)
    numbers = [number for phrase in phrases for number in _numbers(phrase)]
    found = [form for phrase in (*phrases, *numbers) for form in _forms(phrase)]
    return list(dict.fromkeys(found))


def mmmu_open_right(text: str, gold: str | Sequence[str]) -> bool:
    """Whether a right answer is inside one of the phrases, or equal to one of the numbers."""
    golds = [gold] if isinstance(gold, str) else gold
    right = {form for one in golds for form in _forms(one)}
    for said in mmmu_open(text):
        if isinstance(said, str):
            if any(isinstance(one, str) and one in said for one in right):
                return True
        elif said in right:
            return True
    return False


def _key_phrases(text: str) -> list[str]:
    """The shortest ends of sentences behind a hint, or the whole text where there is none."""
    text = text.strip().strip(".").lower()
    sentences = re.split(r"\.\s(?=[A-Z])|\n", text)
    found = []
    for number, sentence in enumerate(sentences):
        hints = (*_HINTS, "=") if number == len(sentences) - 1 else _HINTS
        ends = [sentence.split(hint)[-1].strip() for hint in hints if hint in sentence]
        if ends:
            shortest = min(ends, key=len)
            if shortest not in _EMPTY:
                found.append(shortest)
    return found or [text]


def _numbers(text: str) -> list[str]:
    return [*_WITH_COMMAS.findall(text), *_SCIENTIFIC.findall(text), *_SIMPLE.findall(text)]


def _forms(text: str) -> list[Found]:
    """A number to two decimals, or a text in lower case; a single letter with a space around."""
    text = text.strip()
    plain = text.replace(",", "")
    try:
        return [round(float(plain), 2)]
    except ValueError:
        pass
    lowered = text.lower()
    return [f" {lowered}", f"{lowered} "] if len(lowered) == 1 else [lowered]
