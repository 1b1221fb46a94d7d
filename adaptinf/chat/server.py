"""The door for programs and the page for people, by HTTP from the standard library.

Meant for one machine and its few users: no encryption, one model, one answer at a time.
"""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from adaptinf.chat.entrance import Entrance, Refused
from adaptinf.chat.line import Busy
from adaptinf.chat.protocol import Completion, Request, models_told, refusal, request_of
from adaptinf.chat.service import Service
from adaptinf.errors import UserError

BODY = 24_000_000
"""Bytes of a request; some eight photographs."""

DRAINED = 200_000_000
"""Bytes that are read and thrown away, so that a client hears why its request is refused."""

PATIENCE = 30.0
"""Seconds that a client may take for a part of its request, or to take a part of the answer."""

CONNECTIONS = 32
_CHUNK = 1 << 16
_SIZE = re.compile(r"[0-9]{1,15}", re.ASCII)

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


class Server(ThreadingHTTPServer):
    """Listens at ``host`` and ``port`` (0: any that is free) until it is shut down."""

    daemon_threads = True
    request_queue_size = CONNECTIONS

    def __init__(self, service: Service, host: str, port: int) -> None:
        """Bind the address.

        Raises:
            UserError: somebody else has it, or it is not this machine's.
        """
        self.service = service
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.ending = False
        self._places = threading.BoundedSemaphore(CONNECTIONS)
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            hint = "choose another one with --port, or none for a free one"
            seen = getattr(error, "strerror", None) or str(error)
            raise UserError(
                "cannot listen here", where=f"{host}:{port}", seen=seen, hint=hint
            ) from None
        self.entrance = Entrance(service.token, host, self.server_port)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self.server_port}"

    def server_close(self) -> None:
        """Stop listening; answers end at their next word."""
        self.ending = True
        super().server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for each connection, as long as there is room; others are hung up on."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one connection, and give its place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave are no error, and others are a line."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            print(f"{type(error).__name__}: {error}", file=sys.stderr)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server
    timeout = PATIENCE
    server_version, sys_version = "adaptinf", ""

    def log_message(self, format: str, *args: Any) -> None:
        """What is asked is nobody's business."""

    def do_GET(self) -> None:
        """Pages, and the list of models."""
        self._guarded(self._get)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Questions."""
        self._guarded(self._post)

    def _guarded(self, serve: Callable[[str], None]) -> None:
        self._begun = False
        try:
            self.server.entrance.require_home(self.headers)
            serve(urlsplit(self.path).path)
        except Refused as refused:
            self._refuse(refused.status, refused.error, refused.code)
        except Busy as busy:
            self._refuse(HTTPStatus.TOO_MANY_REQUESTS, busy)
        except UserError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, error)
        except (OSError, EOFError):
            self.close_connection = True  # the client has left
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            told = UserError("the model failed", hint="the server's terminal says more")
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, told)

    def _get(self, path: str) -> None:
        document = self.server.service.documents.get(path)
        if document is not None:
            if not document.open and not self._let_in():
                return
            self._send(HTTPStatus.OK, document.content().encode(errors="replace"), document.kind)
        elif path == "/v1/models":
            self.server.entrance.admit(self.headers)
            service = self.server.service
            self._json(HTTPStatus.OK, models_told(service.talker.steps, int(service.started)))
        else:
            raise Refused(HTTPStatus.NOT_FOUND, UserError("nothing here"))

    def _post(self, path: str) -> None:
        body = self._body()
        self.server.entrance.admit(self.headers)
        if path != "/v1/chat/completions":
            raise Refused(HTTPStatus.NOT_FOUND, UserError("nothing here"))
        service = self.server.service
        request = request_of(body, service.bounds)
        try:
            service.talker.require(request.step)
        except UserError as error:
            raise Refused(HTTPStatus.NOT_FOUND, error, "model_not_found") from None
        completion = Completion(request, service.frame)
        if request.stream:
            self._stream(request, completion)
            return
        asked = request.messages, request.step, request.bounds
        # Told of every word, so that it is seen when the client has left.
        reply = service.talker.answer(*asked, tell=lambda piece: self._require_company())
        self._json(HTTPStatus.OK, completion.whole(reply))

    def _stream(self, request: Request, completion: Completion) -> None:
        reply = self.server.service.talker.answer(
            request.messages,
            request.step,
            request.bounds,
            tell=lambda piece: self._event(completion.piece(piece)),
            chosen=lambda step, choice: self._event(completion.begun(step, choice)),
        )
        self._event(completion.ended(reply))
        self._write(b"data: [DONE]\n\n")

    def _event(self, told: Mapping[str, Any]) -> None:
        if not self._begun:
            self._begun = True
            self.close_connection = True
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "text/event-stream; charset=utf-8")
            self.send_header("Cache-Control", "no-store")
            self.send_header("Connection", "close")
            self.end_headers()
        self._write(b"data: " + json.dumps(told).encode() + b"\n\n")

    def _write(self, raw: bytes) -> None:
        if self.server.ending:
            raise ConnectionAbortedError
        self.wfile.write(raw)
        self.wfile.flush()

    def _require_company(self) -> None:
        """Raises where the client has hung up: a socket that is at its end can be read."""
        self.connection.setblocking(False)
        try:
            gone = self.connection.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            gone = False
        finally:
            self.connection.settimeout(PATIENCE)
        if gone or self.server.ending:
            raise ConnectionAbortedError

    def _body(self) -> bytes:
        """Read whatever comes first, so that even a client that is refused hears of it."""
        length = self.headers.get("Content-Length", "")
        if not _SIZE.fullmatch(length) or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            raise Refused(HTTPStatus.LENGTH_REQUIRED, UserError("no Content-Length"))
        size = int(length)
        if size > BODY:
            self.close_connection = True
            self._drain(size)
            told = UserError(f"a request of more than {BODY // 10**6} MB", hint="send less at once")
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, told)
        parts, until = [], time.monotonic() + 2 * PATIENCE
        while size:
            part = self.rfile.read1(min(size, _CHUNK))
            if not part:
                raise EOFError
            if time.monotonic() > until:
                self.close_connection = True
                raise Refused(HTTPStatus.REQUEST_TIMEOUT, UserError("the request came too slowly"))
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _drain(self, size: int) -> None:
        left, until = min(size, DRAINED), time.monotonic() + PATIENCE
        while left > 0 and time.monotonic() < until:
            part = self.rfile.read1(min(left, _CHUNK))
            if not part:
                return
            left -= len(part)

    def _let_in(self) -> bool:
        """Whether a browser may see a page; one that brings the token in the address keeps it."""
        entrance = self.server.entrance
        address = urlsplit(self.path)
        if entrance.knows(parse_qs(address.query).get("token", [""])[0]):
            self.send_response(HTTPStatus.SEE_OTHER)
            self.send_header("Set-Cookie", entrance.cookie)
            self.send_header("Location", address.path)
            self.send_header("Referrer-Policy", "no-referrer")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False
        entrance.admit(self.headers)
        return True

    def _refuse(self, status: HTTPStatus, error: UserError, code: str | None = None) -> None:
        kind = "server_error" if status >= 500 else "invalid_request_error"
        told = refusal(error, kind, code)
        try:
            if self._begun:  # the status is out, and the answer well under way
                self._write(b"data: " + json.dumps(told).encode() + b"\n\n")
            else:
                self._json(status, told)
        except OSError:
            self.close_connection = True

    def _json(self, status: HTTPStatus, told: Mapping[str, Any]) -> None:
        self._send(status, json.dumps(told).encode(), "application/json")

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        if status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
