"""The door for programs, at the hands of the official client and of hostile ones."""

from __future__ import annotations

import base64
import http.client
import io
import json
import socket
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
from PIL import Image

from adaptinf.chat import server as server_module
from adaptinf.chat.line import Busy, Line
from adaptinf.chat.messages import Message
from adaptinf.chat.server import Server
from adaptinf.chat.service import Document, Service
from adaptinf.chat.talker import Bounds, Talker
from adaptinf.errors import UserError
from adaptinf.models.loading import ModelSource, load_model
from stages.context import encoder_of

TOKEN = "a-very-secret-token"
STEPS = ("base", "1-shop")


@dataclass
class OneModel:
    """The tiny model, which every step is."""

    model: Any
    steps: Sequence[str] = STEPS
    asked: list[str] = field(default_factory=list)

    @contextmanager
    def at(self, step: str) -> Iterator[Any]:
        self.asked.append(step)
        yield self.model


@pytest.fixture(scope="module")
def talker() -> Talker:
    return Talker(OneModel(load_model(ModelSource("tiny"))), encoder_of(ModelSource("tiny")))


@pytest.fixture(scope="module")
def server(talker: Talker) -> Iterator[Server]:
    page = Document("text/html", lambda: "<h1>a page</h1>")
    documents = {"/": page, "/open.css": Document("text/css", lambda: "", open=True)}
    service = Service(talker, TOKEN, Bounds(tokens=64), documents)
    with Server(service, "127.0.0.1", 0) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        yield served
        served.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=TOKEN, max_retries=0)


def scene(colour: str = "red") -> Image.Image:
    image = Image.new("RGB", (32, 32), "black")
    image.paste(colour, (3, 3, 13, 13))
    return image


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def data_url(raw: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(raw).decode()}"


def question(*urls: object, text: str = "Describe the image.") -> list[dict]:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def post(server: Server, body: bytes | str | dict, **headers: str) -> tuple[int, dict]:
    raw = json.dumps(body) if isinstance(body, dict) else body
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    known = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", "/v1/chat/completions", raw, known | sent)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, json.loads(content)


def get(server: Server, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("GET", path, headers=sent)
    response = connection.getresponse()
    found = response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    connection.close()
    return found


def test_the_official_client_gets_the_answer_whole_and_in_pieces(
    client: openai.OpenAI, talker: Talker
) -> None:
    assert [model.id for model in client.models.list()] == ["auto", *STEPS]
    expected = talker.answer([Message("user", "Describe the image.", (scene(),))], "1-shop")
    asked: dict[str, Any] = {"messages": question(data_url(encoded(scene()))), "model": "1-shop"}
    whole = client.chat.completions.create(**asked)
    assert whole.choices[0].message.content == expected.text
    assert whole.model == "1-shop" and whole.choices[0].finish_reason == "stop"
    assert whole.usage.prompt_tokens == expected.prompt_tokens
    chunks = list(client.chat.completions.create(**asked, stream=True))
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert "".join(pieces).strip() == expected.text
    assert len([piece for piece in pieces if piece]) > 1
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[0].model_extra["adaptinf"] == {"step": "1-shop"}
    cut = client.chat.completions.create(**asked, max_completion_tokens=2)
    assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 2)


def test_auto_without_anything_learned_is_the_latest(client: openai.OpenAI) -> None:
    told = client.chat.completions.create(
        model="auto", messages=[{"role": "user", "content": "Repeat: red"}]
    )
    assert told.model == "1-shop"
    assert told.model_extra["adaptinf"]["reason"] == "the latest step"


def test_several_rounds_and_images(client: openai.OpenAI, talker: Talker) -> None:
    red, blue = scene("red"), scene("blue")
    rounds = [
        *question(data_url(encoded(red)), text="What is it?"),
        {"role": "assistant", "content": "a red square"},
        *question(data_url(encoded(blue)), text="And this?"),
    ]
    expected = talker.answer(
        [
            Message("user", "What is it?", (red,)),
            Message("assistant", "a red square"),
            Message("user", "And this?", (blue,)),
        ],
        "base",
    )
    told = client.chat.completions.create(model="base", messages=rounds)
    assert told.choices[0].message.content == expected.text
    assert told.usage.prompt_tokens == expected.prompt_tokens


def test_two_clients_at_once_get_their_own_answers(client: openai.OpenAI) -> None:
    colours = ("red", "blue", "green", "white")

    def ask(colour: str) -> str:
        asked = question(data_url(encoded(scene(colour))))
        told = client.chat.completions.create(model="base", messages=asked, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in told)

    alone = {colour: ask(colour) for colour in colours}
    assert len(set(alone.values())) == len(colours)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(ask, colours * 4))
    assert together == [alone[colour] for colour in colours * 4]


@pytest.mark.parametrize("key", ["", "another", TOKEN[:-1], "\u00e9"])
def test_nobody_is_answered_without_the_token(server: Server, key: str) -> None:
    body = {"model": "base", "messages": question()}
    status, told = post(server, body, Authorization=f"Bearer {key}".encode().decode("latin-1"))
    assert status == 401 and told["error"]["code"] == "invalid_api_key"
    assert TOKEN not in json.dumps(told)
    assert get(server, "/v1/models")[0] == 401
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="no", max_retries=0).models.list()


def test_a_page_is_opened_by_the_address_with_the_token(server: Server) -> None:
    assert get(server, "/")[0] == 401
    assert get(server, "/?token=wrong")[0] == 401
    status, headers, _ = get(server, f"/?token={TOKEN}")
    assert (status, headers["location"]) == (303, "/")
    assert "HttpOnly" in headers["set-cookie"] and "SameSite=Strict" in headers["set-cookie"]
    cookie = headers["set-cookie"].split(";")[0]
    status, headers, content = get(server, "/", Cookie=cookie)
    assert (status, content) == (200, b"<h1>a page</h1>")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert get(server, "/open.css")[0] == 200
    body = {"model": "base", "messages": question()}
    assert post(server, body, Authorization="", Cookie=cookie)[0] == 200
    # Another page that the visitor has open cannot ask in their name.
    other = {"Origin": "http://evil.example"}
    assert post(server, body, Authorization="", Cookie=cookie, **other)[0] == 403
    assert get(server, "/", Cookie=cookie, Host="evil.example")[0] == 421


def bomb() -> bytes:
    """A PNG of 30,000 x 30,000 black pixels, in some kilobytes of file and gigabytes of memory."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + check

    side = (30_000).to_bytes(4, "big")
    head = chunk(b"IHDR", side + side + bytes([8, 0, 0, 0, 0]))
    packed = zlib.compressobj(9)
    rows = b"".join(packed.compress(bytes(30_001)) for _ in range(200)) + packed.flush()
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (data_url(bomb()), "oversized-image"),
        (data_url(b"%PDF-1.7 no picture"), "undecodable-image"),
        (data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"), "undecodable"),
        (data_url(b"%!PS-Adobe-3.0 EPSF-3.0\n"), "undecodable-image"),
        (data_url(encoded(scene())[:60]), "undecodable-image"),
        (data_url(b""), "undecodable-image"),
        ("data:image/png;base64,@@@@", "not base64"),
        ("data:text/html;base64,AAAA", "no data URL"),
        ("http://127.0.0.1:1/picture.png", "not fetched"),
        ("https://example.com/picture.png", "not fetched"),
        ("file:///etc/passwd", "not fetched"),
        ("../../etc/passwd", "not fetched"),
        ("/etc/passwd\0.png", "not fetched"),
        (["a"], "no data URL"),
        (None, "no data URL"),
        (data_url(bytes(11_000_000)), "more than 10 MB"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_hostile_images_are_refused(server: Server, url: object, told: str) -> None:
    status, answer = post(server, {"model": "base", "messages": question(url)})
    assert status == 400
    assert told in answer["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ("{", 400, "not JSON"),
        ("[" * 100_000, 400, "not JSON"),
        ("[]", 400, "no JSON object"),
        ({"model": "base"}, 400, "messages"),
        ({"model": "base", "messages": []}, 400, "messages"),
        ({"model": "base", "messages": ["hello"]}, 400, "no message"),
        ({"model": "base", "messages": [{"role": "system", "content": "a"}]}, 400, "unknown role"),
        ({"model": "base", "messages": [{"role": "user", "content": 5}]}, 400, "text or a list"),
        ({"model": "base", "messages": question(*[data_url(b"")] * 9)}, 400, "more than 8 images"),
        ({"model": "base", "messages": question(text="a" * 50_001)}, 400, "letters"),
        ({"model": "base", "messages": question(text="what <image>")}, 400, "<image> in a text"),
        ({"model": "base", "messages": question(text="</s>")}, 400, "special token"),
        ({"model": "../1-shop", "messages": question()}, 404, "did you mean '1-shop'"),
        ({"model": {"a": 1}, "messages": question()}, 400, "model is a name"),
        ({"model": "base", "messages": question(), "temperature": 0.7}, 400, "likeliest"),
        ({"model": "base", "messages": question(), "n": 2}, 400, "not to be had"),
        ({"model": "base", "messages": question(), "tools": [1]}, 400, "unknown setting"),
        ({"model": "base", "messages": question(), "max_tokens": -1}, 400, "whole number"),
        ({"model": "base", "messages": question(), "max_tokens": True}, 400, "whole number"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_request_is_told(
    server: Server, body: str | dict, status: int, told: str
) -> None:
    found, answer = post(server, body)
    assert found == status and told in answer["error"]["message"]


def test_fifty_megabytes_are_refused_and_the_next_is_answered(server: Server) -> None:
    status, told = post(server, b"x" * 50_000_000)
    assert status == 413 and "more than 24 MB" in told["error"]["message"]
    assert post(server, {"model": "base", "messages": question()})[0] == 200


@pytest.mark.parametrize("path", ["/../../etc/passwd", "/%2e%2e/etc/passwd", "/v1/../x", "//a"])
def test_no_path_leads_to_a_file(server: Server, path: str) -> None:
    assert get(server, path, Authorization=f"Bearer {TOKEN}")[0] == 404


def raw(server: Server, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        found = b""
        while part := connection.recv(65_536):
            found += part
        return found


def test_a_body_has_a_length(server: Server) -> None:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: {TOKEN}\r\n"
    for lines in ("", "Transfer-Encoding: chunked\r\n", "Content-Length: -5\r\n"):
        assert raw(server, f"{head}{lines}\r\n".encode()).startswith(b"HTTP/1.1 411")
    assert raw(server, f"{head}Content-Length: 10\r\n\r\nabc".encode()) == b""
    assert raw(server, b"\x16\x03\x01 no http\r\n\r\n").count(b"400") > 0


def test_slow_clients_are_hung_up_on(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module._Handler, "timeout", 0.2)
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n")
        assert connection.recv(100) == b""


def test_a_client_that_leaves_frees_the_model(server: Server, client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "base", "messages": question(data_url(encoded(scene())))}
    for _ in range(3):
        stream = client.chat.completions.create(**asked, stream=True)
        next(iter(stream))
        stream.close()
    assert client.chat.completions.create(**asked).choices[0].message.content


def test_those_who_wait_too_long_or_are_too_many_are_told(
    talker: Talker, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line(length=1, patience=0.2)
    monkeypatch.setattr(talker, "_line", line)
    body = {"model": "base", "messages": question()}
    with line.turn():
        status, told = post(server, body)
        assert status == 429 and "took too long" in told["error"]["message"]
        with ThreadPoolExecutor(3) as pool:
            futures = [pool.submit(post, server, body) for _ in range(3)]
            found = [future.result() for future in futures]
        assert {status for status, _ in found} == {429}
    assert post(server, body)[0] == 200


def test_the_line_is_first_come_first_served() -> None:
    line, served, waiting = Line(length=3), [], threading.Barrier(2)

    def stand(number: int) -> None:
        waiting.wait()
        with line.turn():
            served.append(number)

    with ThreadPoolExecutor(4) as pool, line.turn():
        for number in range(3):
            pool.submit(stand, number)
            waiting.wait()
            while len(line._tickets) < number + 2:
                time.sleep(0.001)
        with pytest.raises(Busy, match="too many"), line.turn():
            pass
        assert served == []
    assert served == [0, 1, 2]


def test_a_port_that_is_taken_is_told(server: Server) -> None:
    with pytest.raises(UserError, match=f"127.0.0.1:{server.server_port}: cannot listen here"):
        Server(server.service, "127.0.0.1", server.server_port)
    with pytest.raises(UserError, match="cannot listen here"):
        Server(server.service, "no.such.host.invalid", 0)


def test_a_failing_model_is_an_error_of_the_server(
    talker: Talker, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def failing(step: str) -> Iterator[Any]:
        raise RuntimeError("secret path /home/me")
        yield

    monkeypatch.setattr(talker._models, "at", failing)
    for stream in (False, True):
        body = {"model": "base", "messages": question(), "stream": stream}
        if not stream:
            status, told = post(server, body)
            assert status == 500 and "secret" not in json.dumps(told)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
            head = {"Authorization": f"Bearer {TOKEN}"}
            connection.request("POST", "/v1/chat/completions", json.dumps(body), head)
            content = connection.getresponse().read()
            connection.close()
            assert b"the model failed" in content and b"secret" not in content
