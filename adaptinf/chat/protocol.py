"""What programs send and get: the part of OpenAI's chat completions that is known here."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adaptinf.chat.boxes import drawn_boxes
from adaptinf.chat.choice import Choice
from adaptinf.chat.messages import Message
from adaptinf.chat.pictures import COUNT, image_of
from adaptinf.chat.talker import AUTO, Bounds, Reply
from adaptinf.errors import UserError

MESSAGES, LETTERS = 100, 50_000
"""Of one conversation."""

_IGNORED = frozenset(("user", "metadata", "store", "seed", "stream_options", "logit_bias"))
_TOKENS = ("max_completion_tokens", "max_tokens")
_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "n": (1,),
    "temperature": (0, 1),
    "top_p": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logprobs": (False,),
    "stop": ([],),
}
"""Settings that change nothing at these values, and are not known at others."""


@dataclass(frozen=True, slots=True)
class Request:
    """A conversation, whose turn it is to answer it, and how."""

    messages: list[Message]
    step: str
    bounds: Bounds
    stream: bool


def request_of(body: bytes, bounds: Bounds) -> Request:
    """What a body asks for; ``bounds`` are the most that it may.

    Raises:
        UserError: it is no request, or asks for something that is not known here.
    """
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        raise UserError("the body is not JSON") from None
    if not isinstance(told, dict):
        raise UserError("the body is no JSON object")
    for name, value in told.items():
        if name in _NEUTRAL and value is not None and value not in _NEUTRAL[name]:
            hint = "answers are the likeliest tokens; leave it out"
            raise UserError("not to be had here", where=name, seen=value, hint=hint)
        known = {"model", "messages", "stream", *_TOKENS, *_IGNORED, *_NEUTRAL}
        if name not in known and value is not None:
            raise UserError("unknown setting", where=name[:80], hint="leave it out")
    model, stream = told.get("model") or AUTO, told.get("stream") or False
    if not isinstance(model, str) or not isinstance(stream, bool):
        raise UserError("model is a name, and stream true or false")
    return Request(_messages(told.get("messages")), model, _bounded(told, bounds), stream)


def _bounded(told: Mapping[str, Any], bounds: Bounds) -> Bounds:
    for name in _TOKENS:
        wanted = told.get(name)
        if wanted is None:
            continue
        if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1:
            raise UserError("a whole number from 1", where=name, seen=wanted)
        return Bounds(min(wanted, bounds.tokens), bounds.seconds, bounds.beams)
    return bounds


def _messages(told: object) -> list[Message]:
    if not isinstance(told, list) or not 0 < len(told) <= MESSAGES:
        raise UserError(f"a list of up to {MESSAGES} messages", where="messages")
    found, letters, images = [], 0, 0
    for number, one in enumerate(told):
        message = _message(one, f"messages[{number}]", COUNT - images)
        letters += len(message.text)
        images += len(message.images)
        if letters > LETTERS:
            raise UserError(f"more than {LETTERS:,} letters", where="messages")
        found.append(message)
    return found


def _message(told: object, where: str, room: int) -> Message:
    """A message of a text, or of parts; its images stand before its words, wherever they came."""
    if not isinstance(told, dict):
        raise UserError("no message", where=where)
    role, content = told.get("role"), told.get("content")
    if role not in ("user", "assistant"):
        hint = "user and assistant; put instructions before the first question"
        raise UserError("unknown role", where=where, seen=str(role)[:80], hint=hint)
    if isinstance(content, str):
        return Message(role, content)
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise UserError("content is a text or a list of parts", where=where)
    texts, urls = [], []
    for part in content:
        kind, value = part.get("type"), part.get(str(part.get("type")))
        if kind == "text" and isinstance(value, str):
            texts.append(value)
        elif kind == "image_url":
            urls.append(value.get("url") if isinstance(value, dict) else value)
        else:
            hint = "parts are text and image_url"
            raise UserError("unknown part", where=where, seen=str(kind)[:80], hint=hint)
    if len(urls) > room:
        raise UserError(f"more than {COUNT} images", where=where)
    images = [image_of(url, f"{where}, image {i}") for i, url in enumerate(urls, 1)]
    return Message(role, "\n".join(texts), tuple(images))


class Completion:
    """The answer to a request as it goes out: whole, or in events."""

    def __init__(self, request: Request, frame: str = "auto") -> None:
        self._request = request
        self._frame = frame
        self._step = request.step
        self._id = f"chatcmpl-{secrets.token_hex(12)}"
        self._created = int(time.time())

    def begun(self, step: str, choice: Choice | None) -> dict[str, Any]:
        """The first event: whose answer it is, and why."""
        self._step = step
        told = self._told("chat.completion.chunk", delta={"role": "assistant", "content": ""})
        return told | {"adaptinf": _why(step, choice)}

    def piece(self, text: str) -> dict[str, Any]:
        """An event with more of the answer."""
        return self._told("chat.completion.chunk", delta={"content": text})

    def ended(self, reply: Reply) -> dict[str, Any]:
        """The last event, with the boxes of the answer."""
        told = self._told("chat.completion.chunk", delta={}, finish_reason=reply.ended)
        return told | {"adaptinf": self._extra(reply), "usage": _usage(reply)}

    def whole(self, reply: Reply) -> dict[str, Any]:
        """All of it."""
        self._step = reply.step
        message = {"role": "assistant", "content": reply.text}
        told = self._told("chat.completion", message=message, finish_reason=reply.ended)
        return told | {"adaptinf": self._extra(reply), "usage": _usage(reply)}

    def _told(self, kind: str, finish_reason: str | None = None, **said: Any) -> dict[str, Any]:
        choice = {"index": 0, "finish_reason": finish_reason, "logprobs": None, **said}
        head = {"id": self._id, "object": kind, "created": self._created, "model": self._step}
        return {**head, "choices": [choice]}

    def _extra(self, reply: Reply) -> dict[str, Any]:
        """Boxes are on the latest image that has been shown."""
        shown = [image for message in self._request.messages for image in message.images]
        boxes = drawn_boxes(reply.text, shown[-1].size, self._frame) if shown else []
        return _why(reply.step, reply.choice) | {"boxes": boxes, "image": len(shown) - 1}


def _why(step: str, choice: Choice | None) -> dict[str, Any]:
    if choice is None:
        return {"step": step}
    return {"step": step, "reason": choice.reason, "confidence": choice.confidence}


def _usage(reply: Reply) -> dict[str, int]:
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.tokens,
        "total_tokens": reply.prompt_tokens + reply.tokens,
    }


def models_told(steps: Sequence[str], created: int) -> dict[str, Any]:
    """What ``/v1/models`` says: ``auto``, the base model, and the model after every step."""
    head = {"object": "model", "created": created, "owned_by": "adaptinf"}
    return {"object": "list", "data": [{"id": name, **head} for name in (AUTO, *steps)]}


def refusal(error: UserError, kind: str, code: str | None = None) -> dict[str, Any]:
    """An error as programs of this kind expect it."""
    told = {"message": "\n".join(error.lines), "type": kind, "param": None, "code": code}
    return {"error": told}
