"""The page, in a Chromium: what visitors do, and what they must not be able to."""

from __future__ import annotations

import io
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from adaptinf.chat.server import Server
from adaptinf.chat.service import Service
from adaptinf.chat.site import Site
from adaptinf.chat.talker import Bounds
from tests.chat.scripted import Scripted

pytestmark = pytest.mark.browser

TOKEN = "secret"
OPENINGS = [{"skill": "colour", "text": "Which colour?", "images": []}]


@dataclass
class Stage:
    """A server with a scripted talker, and a browser."""

    talker: Scripted
    server: Server
    browser: Any

    def visitor(self, width: int = 1280, height: int = 800) -> Any:
        """A page of a visitor of their own."""
        context = self.browser.new_context(viewport={"width": width, "height": height})
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.faults = []
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("console", lambda told: told.type == "error" and page.faults.append(told.text))
        page.goto(f"{self.server.url}/?token={TOKEN}")
        page.wait_for_selector("#examples button")
        return page


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert program, "no chromium here; set CHROMIUM to one, or leave out -m browser"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def stage(browser: Any) -> Iterator[Stage]:
    talker = Scripted()
    site = Site(
        "<b>run</b>",
        "an-organisation/a-model-of-a-long-name-7b-hf",
        "lora",
        talker.steps,
        True,
        lambda: json.dumps(OPENINGS),
        lambda: "s",
    )
    service = Service(talker, TOKEN, Bounds(), site.documents())
    with Server(service, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Stage(talker, server, browser)
        server.shutdown()
        thread.join()


def photo(colour: str = "red", size: tuple[int, int] = (200, 100)) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return {"name": f"{colour}.png", "mimeType": "image/png", "buffer": buffer.getvalue()}


def ask(page: Any, text: str, number: int = 1) -> Any:
    """The answers to a question, once they are all there."""
    page.fill("#text", text)
    page.click("#send")
    turn = page.locator(f".turn >> nth={number - 1}")
    turn.locator(".again").wait_for()
    return turn.locator(".answer")


def test_upload_ask_switch_side_by_side_and_boxes(stage: Stage) -> None:
    page = stage.visitor()
    page.set_input_files("#files", [photo("red"), photo("blue")])
    page.locator("#shown img >> nth=1").wait_for()
    answers = ask(page, "What is it?")
    assert answers.locator(".said").inner_text() == "1-shop 1"
    assert "like read (90%)" in answers.locator(".by").inner_text()
    (question,) = stage.talker.asked[0]
    assert [image.getpixel((0, 0)) for image in question.images] == [(255, 0, 0), (0, 0, 255)]

    page.select_option("#first", "base")
    page.select_option("#second", "1-shop")
    answers = ask(page, "And now?", 2)
    assert answers.locator(".said").all_inner_texts() == ["base 3", "1-shop 3"]
    texts = [message.text for message in stage.talker.asked[1]]
    assert texts == ["What is it?", "1-shop 1", "And now?"]

    stage.talker.says = lambda messages, step: "at [0.25, 0.5, 0.75, 1.0]"
    page.select_option("#second", "")
    answers = ask(page, "Where?", 3)
    box = answers.locator("rect")
    sides = [box.get_attribute(name) for name in ("x", "y", "width", "height")]
    assert sides == ["0.25", "0.5", "0.5", "0.5"]
    picture, drawn = answers.locator(".drawn img").bounding_box(), box.bounding_box()
    assert drawn["x"] == pytest.approx(picture["x"] + picture["width"] / 4, abs=3)
    assert drawn["height"] == pytest.approx(picture["height"] / 2, abs=5)
    assert page.faults == []


def test_an_answer_streams_stops_and_is_tried_again(stage: Stage) -> None:
    go_on, left = threading.Event(), threading.Event()

    def hold(word: str) -> None:
        if word == "one":
            go_on.wait(10)

    stage.talker.says = lambda messages, step: "one " + "two " * 20_000 + "three"
    stage.talker.between = hold
    answer = stage.talker.answer

    def watched(*arguments: Any, **options: Any) -> Any:
        try:
            return answer(*arguments, **options)
        except OSError:
            left.set()
            raise

    stage.talker.answer = watched  # type: ignore[method-assign]
    page = stage.visitor()
    page.fill("#text", "count")
    page.press("#text", "Enter")
    said = page.locator(".answer .said")
    said.filter(has_text="one").wait_for()
    assert said.inner_text().strip() == "one"  # nothing else has been said yet
    assert not page.locator("#send").is_visible()
    page.click("#stop")
    page.locator(".again").wait_for()
    go_on.set()
    assert left.wait(10), "the model goes on for somebody who has left"
    assert "stopped" in page.locator(".by").inner_text()

    stage.talker.says, stage.talker.between = lambda messages, step: "whole", lambda word: None
    page.select_option("#first", "base")
    page.click(".again button")
    page.locator(".answer .said", has_text="whole").wait_for()
    page.locator(".again").wait_for()
    assert page.locator(".turn").count() == 1
    assert page.locator(".by").inner_text() == "base"


def test_a_second_visitor_sees_nothing_of_the_first(stage: Stage) -> None:
    first, second = stage.visitor(), stage.visitor()
    ask(first, "my secret question")
    ask(second, "hello")
    assert "secret question" not in second.content()
    assert [message.text for message in stage.talker.asked[1]] == ["hello"]
    second.reload()
    second.wait_for_selector("#examples button")
    assert second.locator(".turn").count() == 0
    stranger = stage.browser.new_context().new_page()
    assert stranger.goto(f"{stage.server.url}/").status == 401


def test_a_part_of_an_image_is_cut_out_or_named(stage: Stage) -> None:
    page = stage.visitor()
    page.set_input_files("#files", [photo("red", (400, 200))])

    def draw() -> None:
        page.click("#shown .look")
        page.wait_for_selector("#region[open] img")
        box = page.locator(".canvas").bounding_box()
        page.mouse.move(box["x"], box["y"])
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 4, steps=4)
        page.mouse.up()

    draw()
    page.click("#name")
    assert page.input_value("#text") == "[0.00, 0.00, 0.50, 0.25]"
    draw()
    page.click("#cut")
    ask(page, "Read it.")
    (message,) = stage.talker.asked[0]
    (part,) = message.images
    assert part.size == (200, 50)


def test_limits_and_mistakes_are_told_and_texts_stay_texts(stage: Stage, tmp_path: Path) -> None:
    page = stage.visitor()
    large = tmp_path / "large.png"
    large.write_bytes(bytes(11_000_000))
    trouble = page.locator("#trouble")
    page.set_input_files("#files", str(large))
    trouble.filter(has_text="up to 10 MB").wait_for()
    page.set_input_files("#files", [photo()] * 9)
    trouble.filter(has_text="room for 8 images").wait_for()
    page.click("#fresh")
    broken = {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"}
    page.set_input_files("#files", [broken])
    answers = ask(page, "What?")
    assert "undecodable-image" in answers.inner_text()
    page.faults.clear()  # Chromium notes the picture and the status
    stage.talker.says = lambda messages, step: "<img src=x onerror=alert(1)> <b>bold</b>"
    answers = ask(page, "<script>alert(2)</script>", 2)
    assert answers.locator(".said").inner_text().startswith("<img src=x")
    assert page.locator(".said b, .mine script").count() == 0
    assert [message.text for message in stage.talker.asked[0]] == ["<script>alert(2)</script>"]
    assert page.locator("h1").inner_text() == "<b>run</b>"
    assert page.faults == []


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_wider_than_the_window(stage: Stage, width: int) -> None:
    stage.talker.says = lambda messages, step: "word " * 60 + "w" * 300
    page = stage.visitor(width)
    page.set_input_files("#files", [photo("red", (900, 300))] * 4)
    page.select_option("#second", "base")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ask(page, "Which? " * 40 + "w" * 300)
    inner: Callable[[str], int] = page.evaluate
    assert inner("document.documentElement.scrollWidth") <= width
    assert inner("document.getElementById('talk').scrollWidth") <= width
