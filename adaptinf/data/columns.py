"""Tables with columns of their own names, read as conversations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adaptinf.data.sample import IMAGE_MARK, marked


def as_conversation(record: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """The record with ``columns`` (our name: its name) under our names.

    A question and an answer become a conversation of one turn each; if the question says nothing
    of where the images stand, they stand before it.
    """
    told = {ours: record.get(theirs) for ours, theirs in columns.items()}
    if "question" in told:
        question, answer = told.pop("question"), told.pop("answer", None)
        if isinstance(question, str) and IMAGE_MARK not in question:
            image = told.get("image")
            count = len(image) if isinstance(image, list) else int(bool(image))
            question = marked(question, count)
        told["conversations"] = [
            {"from": "human", "value": question},
            {"from": "gpt", "value": answer},
        ]
    return told
