"""The option that an answer to a multiple-choice question names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_THE_ANSWER_IS = re.compile(r"The answer is ([A-Z]).")
_SIGNS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))


def scienceqa_letter(text: str) -> str | None:
    """LLaVA's rule for ScienceQA: a letter, ``X. ``, or one "The answer is X." in the text."""
    if len(text) == 1 and text in "ABCDE":
        return text
    if text[:1] in tuple("ABCDE") and text[1:3] == ". ":
        return text[0]
    found = _THE_ANSWER_IS.findall(text)
    return str(found[0]) if len(found) == 1 else None


def mmbench_letter(text: str, options: Mapping[str, str]) -> str | None:
    """MMBench's extraction without a judge: one letter alone, or one option's text in the answer.

    ``options`` are the texts by letter. An answer of more than twice the length of all options is
    not searched for their texts.
    """
    tokens = text.translate(_SIGNS).split()
    letters = [token for token in tokens if token in options]
    if len(letters) == 1:
        return letters[0]
    if letters:
        return None
    lowered = {letter: option.lower() for letter, option in options.items()}
    if len(text) > 2 * sum(map(len, lowered.values())):
        return None
    inside = [letter for letter, option in lowered.items() if option in text.lower()]
    return inside[0] if len(inside) == 1 else None


def mmmu_letter(text: str, options: Sequence[str]) -> str | None:
    """MMMU's rule: letters in brackets, then alone, then options in the text; the last one counts.

    None where nothing is found, for which the original draws a letter.
    """
    for sign in (",", ".", "!", "?", ";", ":", "'"):
        text = text.strip(sign)
    text = f" {text} "
    letters = LETTERS[: len(options)]
    found = [letter for letter in letters if f"({letter})" in text]
    if found:
        return max(found, key=lambda letter: text.rfind(f"({letter})"))
    found = [letter for letter in letters if f" {letter} " in text]
    if found:
        return max(found, key=lambda letter: text.rfind(f" {letter} "))
    if len(text.split()) <= 5:
        return None
    lowered = text.lower()
    told = [(lowered.rfind(o.lower()), x) for x, o in zip(letters, options, strict=True)]
    return max(told)[1] if max(told)[0] >= 0 else None


def lenient_letter(text: str, options: Sequence[str]) -> str | None:
    """The letter that a reader would take from the text, in whatever form it is given.

    ``b``, ``(B)``, ``B)``, ``B: blue``, "the answer is b", or the option's own words. It tells
    answers that only miss the form from wrong ones.
    """
    letters = LETTERS[: len(options)]
    stripped = text.strip().strip(".()[]:* ")
    if len(stripped) == 1 and stripped.upper() in letters:
        return stripped.upper()
    for pattern in (
        rf"answer\s*(?:is|:)?\s*\(?([{letters}{letters.lower()}])\b",
        rf"^\W*\(?([{letters}{letters.lower()}])\s*[).:]",
        rf"\(([{letters}{letters.lower()}])\)",
    ):
        found = {match.upper() for match in re.findall(pattern, text, re.IGNORECASE)}
        if len(found) == 1:
            return found.pop()
    same = [x for x, o in zip(letters, options, strict=True) if o.lower() == stripped.lower()]
    if len(same) == 1:
        return same[0]
    return mmbench_letter(text, dict(zip(letters, options, strict=True)))
