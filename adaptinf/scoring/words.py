"""Answers as the VQA evaluations normalise them before they compare.

Two sets of rules are in use. ``normalised`` is that of the m4c code, which LLaVA applies to
TextVQA, VizWiz and VQAv2 and lmms-eval shares. ``cleaned`` is the part of it that the evaluation
code of VQA itself has. Both have quirks that are kept, since scores are only comparable with them.
"""

from __future__ import annotations

import re
from functools import lru_cache

_SIGNS = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"(?<=\d),+(?=\d)")

# Any period that no digit follows. What was meant as a look-behind in the original is none, and
# its flag for Unicode is taken for the number of replacements.
_PERIOD = re.compile(r"\.(?!\d)")
_PERIODS = int(re.UNICODE)

_NUMBERS = {
    "none": "0",
    "zero": "0",
    "one": "1",
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
}
_ARTICLES = frozenset({"a", "an", "the"})

_CONTRACTED = """
ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's
how'd how'll how's isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've
o'clock oughtn't shan't should've shouldn't somebody'll somebody's someone'd someone'll
someone's something'd something'll that's there'd there're there's they'd they'll they're
they've 'twas wasn't we've weren't what'll what're what's what've when's where'd where's
where've who'd who'll who's who've why'll why're why's won't would've wouldn't y'all you'd
you'll you're you've
"""
_TWICE = """
couldn't've hadn't've he'd've it'd've mightn't've she'd've shouldn't've somebody'd've
someone'd've something'd've there'd've they'd've we'd've who'd've wouldn't've you'd've
y'all'll y'all'd've 'ow's'at
"""


def _restored() -> dict[str, str]:
    """Words that lack an apostrophe, and with it: one that lacks one of several is known too."""
    table = {word.replace("'", ""): word for word in _CONTRACTED.split()}
    for word in _TWICE.split():
        places = [place for place, sign in enumerate(word) if sign == "'"]
        table |= {word[:place] + word[place + 1 :]: word for place in places}
    return table | {"somebody'd": "somebodyd"}


_RESTORED = _restored()


@lru_cache(maxsize=1 << 16)
def normalised(text: str) -> str:
    """An answer by m4c's rules: lower case, no articles, numbers as digits, signs gone."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return cleaned(text)


@lru_cache(maxsize=1 << 16)
def cleaned(text: str) -> str:
    """The same without its first step, as the evaluation of VQA has it."""
    return _without_articles(without_signs(flat(text)))


def flat(text: str) -> str:
    """The text in one line, without white space around it."""
    return text.replace("\n", " ").replace("\t", " ").strip()


def without_signs(text: str) -> str:
    """Signs deleted where one stands beside a space or a number has a comma, else made spaces."""
    out = text
    for sign in _SIGNS:
        beside = f"{sign} " in text or f" {sign}" in text or _COMMA_IN_NUMBER.search(text)
        out = out.replace(sign, "" if beside else " ")
    return _PERIOD.sub("", out, _PERIODS)


def _without_articles(text: str) -> str:
    words = (_NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(_RESTORED.get(word, word) for word in words if word not in _ARTICLES)
