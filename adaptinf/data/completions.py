"""A model behind an address: any server that speaks OpenAI's ``chat/completions``."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import httpx2
from PIL import Image

from adaptinf.data.fetch import AGAIN, PATIENCE, LaterError
from adaptinf.data.images import FORMATS, load_image
from adaptinf.errors import UserError

TIMEOUT = httpx2.Timeout(120.0, connect=20.0)

_TRIES = 6
_LONGEST_BODY = 1 << 20
_LONGEST_WAIT = 300.0
_SHOWN = 300
_ORIENTATION = 0x0112
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_NAME = re.compile(r"[\w.:/@+-]{1,200}", re.ASCII)


class HaltedError(Exception):
    """The server was not asked, since something else had ended it all."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model says, and the name that it gives itself, "" if it is none."""

    text: str
    answered_by: str


@dataclass(slots=True)
class ChatServer:
    """Asks a model at an address; once it is ``halted``, it asks no more, and waits no longer.

    ``sleep`` waits before it is asked again. Subclasses say what it is to a user: its ``part``,
    the ``option`` that its address comes by, the ``variable`` of the environment that has its key
    (one of its own, so that none goes where it is not meant), what stays after an error, and the
    ``longest`` reply in characters.
    """

    part: ClassVar[str] = "server"
    option: ClassVar[str] = "URL"
    variable: ClassVar[str] = "ADAPTINF_SERVER_KEY"
    kept: ClassVar[str] = "nothing was written"
    goes_on: ClassVar[str] = "see whether it is running, and ask again"
    longest: ClassVar[int] = 100_000

    endpoint: str
    model: str
    client: httpx2.Client
    key: str | None = field(default=None, repr=False)
    halted: threading.Event = field(default_factory=threading.Event, repr=False)
    sleep: Callable[[float], object] | None = None

    @classmethod
    def at(
        cls, address: str, model: str, client: httpx2.Client, environment: Mapping[str, str]
    ) -> Self:
        """A server with the key that the environment holds, if it holds one.

        Raises:
            UserError: an address or a key that cannot be one.
        """
        try:
            url = httpx2.URL(address)
        except httpx2.InvalidURL:
            url = httpx2.URL("")
        if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
            hint = "as in http://localhost:8000/v1, without /chat/completions"
            raise UserError(f"not the address of a {cls.part}", where=cls.option, hint=hint)
        if url.userinfo:
            hint = f"a key belongs into the environment variable {cls.variable}"
            raise UserError("an address with a name or a password", where=cls.option, hint=hint)
        key = environment.get(cls.variable, "").strip() or None
        if key and not (key.isascii() and key.isprintable()):
            raise UserError("the key holds signs that no key holds", where=cls.variable)
        return cls(address.rstrip("/"), model, client, key)

    @property
    def in_clear(self) -> bool:
        """Whether a key would travel unencrypted over a network."""
        url = httpx2.URL(self.endpoint)
        return self.key is not None and url.scheme == "http" and url.host not in _LOOPBACK

    def reply(self, messages: Sequence[Mapping[str, object]], tokens: int) -> Reply:
        """Its reply, as like as it can give it: at temperature 0.

        A server that says "later", or does not answer, is asked again after the time it names.

        Raises:
            UserError: it refuses, does not answer time after time, or says what is no reply.
            HaltedError: it was halted.
        """
        body = {
            "model": self.model,
            "messages": list(messages),
            "temperature": 0,
            "max_tokens": tokens,
        }
        content = json.dumps(body).encode()
        tries = 0
        while not self.halted.is_set():
            asked = None
            try:
                return self._reply(self._post(content))
            except httpx2.TransportError as error:
                failed = self._told(str(error)) or type(error).__name__
            except LaterError as later:
                failed, asked = str(later), later.seconds
            tries += 1
            wait = 2.0**tries if asked is None else asked
            if tries >= _TRIES or wait > PATIENCE:
                raise UserError(
                    f"the {self.part} does not answer: {failed}",
                    where=self.endpoint,
                    seen=f"{tries} tries, {wait:.0f} s to wait",
                    hint=self.goes_on,
                )
            (self.sleep or self.halted.wait)(wait)
        raise HaltedError

    def _post(self, content: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        url = f"{self.endpoint}/chat/completions"
        with self.client.stream("POST", url, content=content, headers=headers) as answer:
            body = self._whole(answer)
            if answer.status_code in AGAIN:
                raise LaterError(answer, self._told(_message(body)))
            if answer.status_code != 200:
                raise self._refusal(answer, body)
        return body

    def _whole(self, answer: httpx2.Response) -> bytes:
        """A body of bounded length, within bounded time."""
        body, end = b"", time.monotonic() + _LONGEST_WAIT
        for chunk in answer.iter_raw():
            body += chunk
            if len(body) > _LONGEST_BODY:
                raise self._no_reply(f"more than {_LONGEST_BODY} bytes")
            if time.monotonic() > end:
                raise httpx2.ReadTimeout("the reply does not end")
        return body

    def _reply(self, body: bytes) -> Reply:
        try:
            told = json.loads(body)
            text = told["choices"][0]["message"].get("content")
        except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError):
            raise self._no_reply(body.decode(errors="replace")) from None
        text = "" if text is None else text  # a model that declines says nothing
        if not isinstance(text, str):
            raise self._no_reply(body.decode(errors="replace"))
        name = str(told.get("model"))
        named = self._without_key(name) if _NAME.fullmatch(name) else ""
        return Reply(self._without_key(text)[: self.longest], named)

    def _no_reply(self, seen: str) -> UserError:
        return UserError(
            "the server says what is no reply of chat/completions",
            where=self.endpoint,
            seen=self._told(seen),
            hint="the address is the part before /chat/completions, as in http://localhost:8000/v1",
        )

    def _refusal(self, answer: httpx2.Response, body: bytes) -> UserError:
        hints = {
            400: f"another {self.part} may take these settings: temperature 0, max_tokens",
            401: f"the key belongs into the environment variable {self.variable}",
            403: f"the key in {self.variable} may not use this model",
            404: "no such model, or the address is not that before /chat/completions",
        }
        status = answer.status_code
        moved = "it sends to another place: give its address" if answer.is_redirect else ""
        return UserError(
            f"the {self.part} refuses: the server answers {status}",
            where=self.endpoint,
            seen=self._told(_message(body)) or None,
            hint=hints.get(status, moved) or self.kept,
        )

    def _told(self, text: str) -> str:
        """What a server says, short, printable, and without the key, should it say that."""
        shown = "".join(sign if sign.isprintable() else " " for sign in self._without_key(text))
        return " ".join(shown.split())[:_SHOWN]

    def _without_key(self, text: str) -> str:
        return text.replace(self.key, "[key]") if self.key else text


def _message(body: bytes) -> str:
    """The message in a body of an error, or the body."""
    try:
        error: Any = json.loads(body)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, RecursionError, KeyError, TypeError):
        return body.decode(errors="replace")


def image_part(path: Path) -> dict[str, object]:
    """An image as a part of a message; every server sees the pixels that were scored.

    The file's own bytes, but for formats that not all servers read, and for images that Exif turns,
    which not all of them do.

    Raises:
        BadImage: it cannot be decoded.
    """
    image = load_image(path)
    kind, raw = "png", path.read_bytes()
    with Image.open(io.BytesIO(raw), formats=FORMATS) as stored:
        if stored.format in ("JPEG", "PNG") and stored.getexif().get(_ORIENTATION, 1) == 1:
            kind = stored.format.lower()
        else:
            drawn = io.BytesIO()
            image.save(drawn, "png")
            raw = drawn.getvalue()
    url = f"data:image/{kind};base64,{base64.b64encode(raw).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}
