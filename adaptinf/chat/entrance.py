"""Who may ask: those who know the token, and no page of elsewhere in their name."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from adaptinf.errors import UserError

_LOCAL = ("127.0.0.1", "localhost", "::1")


class Refused(Exception):
    """A request that is not answered, with its status."""

    def __init__(self, status: HTTPStatus, error: UserError, code: str | None = None) -> None:
        super().__init__(str(error))
        self.status = status
        self.error = error
        self.code = code


@dataclass(frozen=True, slots=True)
class Entrance:
    """The token of a server that listens at ``host`` and ``port``."""

    token: str
    host: str
    port: int

    @property
    def cookie(self) -> str:
        """What a browser keeps that has brought the token: no script and no other site has it."""
        return f"{self._name}={self.token}; Path=/; HttpOnly; SameSite=Strict"

    def knows(self, given: str) -> bool:
        """Whether this is the token, in a time that does not tell how much of it is right."""
        return hmac.compare_digest(given.encode(errors="replace"), self.token.encode())

    def require_home(self, headers: Message) -> None:
        """Refuse pages of elsewhere that a visitor's browser has open.

        Its name for this machine (DNS rebinding) is not ours, or it says where it comes from.
        """
        host = urlsplit(f"//{headers.get('Host', '')}").hostname or ""
        if self.host in _LOCAL and host not in _LOCAL:
            raise Refused(HTTPStatus.MISDIRECTED_REQUEST, UserError("this is another machine"))
        origin = headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("Host"):
            raise Refused(HTTPStatus.FORBIDDEN, UserError("asked from another page"))

    def admit(self, headers: Message) -> None:
        """Raises ``Refused`` (401) without the token, as a bearer's or in the cookie."""
        kind, _, given = headers.get("Authorization", "").partition(" ")
        if not self.knows(given.strip() if kind.lower() == "bearer" else self._held(headers)):
            hint = "send Authorization: Bearer TOKEN, or open the address that the terminal shows"
            told = UserError("no token, or another one", hint=hint)
            raise Refused(HTTPStatus.UNAUTHORIZED, told, "invalid_api_key")

    def _held(self, headers: Message) -> str:
        try:
            held = SimpleCookie(headers.get("Cookie", "")).get(self._name)
        except CookieError:
            return ""
        return held.value if held else ""

    @property
    def _name(self) -> str:
        return f"adaptinf-{self.port}"  # cookies know hosts, and no ports
