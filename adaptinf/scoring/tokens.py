"""Captions as words, close to the Penn Treebank tokenizer that COCO's evaluation runs in Java."""

from __future__ import annotations

import re

_PLAIN = str.maketrans(
    {
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u2013": " -- ",
        "\u2014": " -- ",
        "\u2026": " ... ",
    }
)

_SPLIT = {"cannot": "can not", "gonna": "gon na", "wanna": "wan na", "gotta": "got ta"}
_SPLIT |= {"gimme": "gim me", "lemme": "lem me"}
_SPLIT_WORDS = re.compile(rf"\b({'|'.join(_SPLIT)})\b")

_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}

_TITLES = "mr mrs ms dr st jr sr prof vs etc inc ltd corp ave blvd rd mt gen col sgt capt lt rev"

_TOKEN = re.compile(
    r"<[^<>\s]+>"  # a tag
    r"|@\w+"
    r"|(?:[a-z]\.){2,}"  # e.g., u.s., p.m.
    rf"|(?:{'|'.join(_TITLES.split())})\."
    r"|\d+(?:[.,:/]\d+)*(?!\w)"
    r"|\w+?(?=n't\b)|n't\b"
    r"|'(?:s|re|ve|ll|d|m)\b"
    r"|\w+(?:[-/]\w+)*"
    r"|\.\.\.|--+"
    r"|[^\w\s]"
)

# Brackets come out of the original in lower case, so that it does not drop them.
_DROPPED = frozenset({"''", "'", "``", "`", '"', ".", "?", "!", ",", ":", "-", "--", "...", ";"})


def caption_tokens(text: str) -> list[str]:
    """The words of a caption in lower case, punctuation left out."""
    text = text.lower().translate(_PLAIN)
    text = _SPLIT_WORDS.sub(lambda found: _SPLIT[found[1]], text)
    tokens = (_BRACKETS.get(token, token) for token in _TOKEN.findall(text))
    return [token for token in tokens if token not in _DROPPED and set(token) != {"-"}]
