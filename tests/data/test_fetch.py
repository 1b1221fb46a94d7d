"""Downloads from a server on loopback that fails in every way that servers do."""

from __future__ import annotations

import email.utils
import hashlib
import threading
import time
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest

from adaptinf.data import fetch as fetch_module
from adaptinf.data.fetch import Fetcher, Remote
from adaptinf.errors import UserError

BODY = bytes(range(256)) * 4000
SHA = hashlib.sha256(BODY).hexdigest()


@dataclass
class Server:
    """Serves ``body`` at every path; ``faults`` are what happens to the next requests, in turn.

    A number of bytes: the connection ends after so many. A status: that, with its headers.
    """

    body: bytes = BODY
    tag: str | None = '"one"'
    ranges: bool = True
    faults: list = field(default_factory=list)
    asked: list[str | None] = field(default_factory=list)
    url: str = ""

    def remote(self, **known: object) -> Remote:
        return Remote(f"{self.url}/file.json", **known)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.asked.append(asked)
            fault = state.faults.pop(0) if state.faults else None
            if isinstance(fault, tuple):
                self.send_response(fault[0])
                for name, value in fault[1].items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = 0
            if asked and state.ranges and self.headers.get("If-Range") == state.tag:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                self.send_response(206)
                whole = len(state.body)
                self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
            else:
                self.send_response(200)
            if state.tag:
                self.send_header("ETag", state.tag)
            rest = state.body[start:]
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest if fault is None else rest[:fault])
            if fault is not None:
                self.close_connection = True

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{httpd.server_port}"
    httpd.handle_error = lambda *_: None  # a client that is killed
    threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
    yield state
    httpd.shutdown()
    httpd.server_close()


@dataclass
class Heard:
    bytes: int = 0
    waits: list[float] = field(default_factory=list)

    def advance(self, count: int) -> None:
        self.bytes += count


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def fetcher(heard: Heard) -> Iterator[Fetcher]:
    with httpx2.Client(follow_redirects=True) as client:
        yield Fetcher(client, advance=heard.advance, sleep=heard.waits.append)


def left(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()} if folder.is_dir() else set()


def test_a_file_is_fetched_and_checked(server, fetcher, heard, tmp_path):
    remote = server.remote(size=len(BODY), sha256=SHA)
    target = fetcher.fetch(remote, tmp_path / "new" / "file.json")
    assert target.read_bytes() == BODY
    assert left(target.parent) == {"file.json"}
    assert heard.bytes == len(BODY)
    # What is there is not asked for again.
    fetcher.fetch(remote, target)
    assert server.asked == [None]


def test_a_connection_that_ends_goes_on_at_the_byte(server, fetcher, heard, tmp_path):
    server.faults = [100_000, 5]
    target = fetcher.fetch(server.remote(sha256=SHA), tmp_path / "file.json")
    assert target.read_bytes() == BODY
    assert server.asked == [None, "bytes=100000-", "bytes=100005-"]
    assert heard.bytes == len(BODY)


def test_another_process_goes_on_at_the_byte(server, heard, tmp_path):
    def killed(count: int) -> None:
        if count:
            raise KeyboardInterrupt

    server.faults = [300_000]
    with httpx2.Client() as client:
        with pytest.raises(KeyboardInterrupt):
            Fetcher(client, advance=killed).fetch(server.remote(), tmp_path / "file.json")
        have = (tmp_path / "file.json.part").stat().st_size
        assert 0 < have < len(BODY)
        Fetcher(client, advance=heard.advance).fetch(
            server.remote(sha256=SHA), tmp_path / "file.json"
        )
    assert server.asked == [None, f"bytes={have}-"]
    assert heard.bytes == len(BODY)


@pytest.mark.parametrize("change", ["tag", "no ranges", "no tag"])
def test_where_it_cannot_go_on_it_begins_anew(server, fetcher, heard, tmp_path, change):
    server.faults = [100_000]
    if change == "no tag":
        server.tag = None
    part = tmp_path / "file.json.part"
    with httpx2.Client() as client:
        waiting = Fetcher(client, sleep=lambda seconds: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            waiting.fetch(server.remote(), tmp_path / "file.json")
    assert part.stat().st_size == 100_000
    if change == "tag":
        server.body, server.tag = BODY[::-1], '"two"'
    if change == "no ranges":
        server.ranges = False
    target = fetcher.fetch(server.remote(), tmp_path / "file.json")
    assert target.read_bytes() == server.body
    assert heard.bytes == len(BODY)


def test_retry_after_is_waited_for(server, fetcher, heard, tmp_path):
    date = email.utils.formatdate(time.time() + 100, usegmt=True)
    server.faults = [
        (429, {"Retry-After": "7"}),
        (503, {"Retry-After": date}),
        (503, {}),
        (429, {"Retry-After": "soon"}),
    ]
    fetcher.fetch(server.remote(sha256=SHA), tmp_path / "file.json")
    assert heard.waits[0] == 7
    assert 95 < heard.waits[1] <= 100
    assert heard.waits[2:] == [8, 16]


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        ([(404, {})], "answers 404 Not Found; the source has moved"),
        ([(403, {})], "answers 403 Forbidden; log in"),
        ([(418, {})], "answers 418"),
        ([(500, {})] * 8, "does not go on: the server answers 500"),
        ([(429, {"Retry-After": "86400"})], "86400 s to wait"),
        ([0] * 8, "does not go on"),
    ],
)
def test_a_refusal_is_one_clear_error(server, fetcher, tmp_path, faults, told):
    server.faults = list(faults)
    with pytest.raises(UserError, match=told) as caught:
        fetcher.fetch(server.remote(), tmp_path / "file.json")
    assert server.url in str(caught.value)
    assert "file.json" not in left(tmp_path)


def test_nobody_there_is_an_error(fetcher, heard, tmp_path):
    with pytest.raises(UserError, match="does not go on"):
        fetcher.fetch(Remote("http://127.0.0.1:9/file"), tmp_path / "file")
    assert heard.waits == [2.0**n for n in range(1, 8)]


@pytest.mark.parametrize(
    ("known", "told"),
    [({"sha256": "0" * 64}, "SHA-256"), ({"size": 7}, "1024000 bytes, where 7 were announced")],
)
def test_another_file_than_announced_leaves_nothing(server, fetcher, tmp_path, known, told):
    with pytest.raises(UserError, match=told):
        fetcher.fetch(server.remote(**known), tmp_path / "file.json")
    assert left(tmp_path) == set()
    # One that the user has put there stays, and is told of.
    (tmp_path / "file.json").write_bytes(BODY)
    with pytest.raises(UserError, match="remove it"):
        fetcher.fetch(server.remote(**known), tmp_path / "file.json")
    assert left(tmp_path) == {"file.json"}


def test_a_full_disk_is_told_before_anything_comes(server, fetcher, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(fetch_module.shutil, "disk_usage", lambda _: usage(10, 9, 1_000))
    with pytest.raises(UserError, match="no room for it"):
        fetcher.fetch(server.remote(), tmp_path / "file.json")
    assert "file.json" not in left(tmp_path)


def test_a_write_that_fails_is_told_and_can_go_on(server, fetcher, heard, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    target = tmp_path / "file.json"
    with monkeypatch.context() as patch:
        patch.setattr(fetch_module, "_write", full)
        with pytest.raises(UserError, match=r"No space left on device.*goes on from here"):
            fetcher.fetch(server.remote(), target)
    assert fetcher.fetch(server.remote(sha256=SHA), target).read_bytes() == BODY


def test_an_empty_file_is_a_file(server, fetcher, tmp_path):
    server.body = b""
    assert fetcher.fetch(server.remote(size=0), tmp_path / "file.json").read_bytes() == b""
