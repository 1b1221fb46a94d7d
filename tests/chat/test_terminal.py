"""A chat in a terminal, and the command around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from adaptinf.chat.talker import Bounds
from adaptinf.chat.terminal import Terminal
from stages.cli.chat import chat
from stages.cli.guard import guarded, umbrella
from tests.chat.scripted import Scripted


@pytest.fixture
def talk() -> Iterator[Callable[..., str]]:
    def run(talker: Scripted, *lines: str) -> str:
        said: list[str] = []
        Terminal(talker, Bounds(), write=said.append, flush=lambda: None).run(lines)
        return "".join(said)

    yield run


def test_rounds_steps_and_two_side_by_side(talk: Callable[..., str]) -> None:
    talker = Scripted()
    said = talk(
        talker, "one", "/step base", "two", "/beside 1-shop", "three", "/retry", "/new", "x"
    )
    lines = [line.strip() for line in said.splitlines()[1:]]
    assert lines == [
        "[1-shop, like read (90%)] 1-shop 1",
        "[base] base 3",
        "[base] base 5",
        "[1-shop] 1-shop 5",
        "[base] base 5",
        "[1-shop] 1-shop 5",
        "[base] base 1",
        "[1-shop] 1-shop 1",
    ]
    texts = [message.text for message in talker.asked[2]]
    assert texts == ["one", "1-shop 1", "two", "base 3", "three"]


def test_images_are_shown_once_and_boxes_are_told(talk: Callable[..., str], tmp_path: Path) -> None:
    name = tmp_path / "a photo.png"
    Image.new("RGB", (100, 50), "red").save(name)
    talker = Scripted(says=lambda messages, step: "[0.1, 0.2, 0.5, 1.0]")
    said = talk(talker, f"/image {name}", "where?", "again?")
    assert "box in pixels: 10, 10, 50, 50" in said
    assert [len(message.images) for message in talker.asked[1]] == [1, 0, 0]


def test_mistakes_are_lines_and_nothing_steers_the_terminal(
    talk: Callable[..., str], tmp_path: Path
) -> None:
    talker = Scripted(says=lambda messages, step: "a\x1b[2Jb\x07")
    said = talk(
        talker, "/retry", "/step 2-shop", "/image", "/image x.png", "/what", "hi", "/quit", "no"
    )
    assert [line.split(";")[0] for line in said.splitlines()[1:6]] == [
        "nothing has been asked yet",
        "model: no such step (seen: '2-shop')",
        "/image: give files of images",
        "x.png: missing-image",
        "no such command (seen: '/what')",
    ]
    assert "\x1b" not in said and "\x07" not in said and "a\ufffd[2Jb\ufffd" in said
    assert len(talker.asked) == 1
    assert "steps: base, 1-shop" in said


def test_the_command_tells_mistakes(tmp_path: Path) -> None:
    app = umbrella("about")
    app.command("chat")(guarded(chat, "stopped"))

    def told(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["chat", str(tmp_path), *arguments])
        assert result.exit_code == 2
        return result.output

    assert "no run here" in told("--cli")
    assert "--cli and --api are two things" in told("--cli", "--api")
    assert "did you mean 'pixels'" in told("--boxes", "pixel")
    # A token that no browser could send is told before a model is loaded.
    result = CliRunner().invoke(
        app, ["chat", str(tmp_path), "--api"], env={"ADAPTINF_API_TOKEN": "two words"}
    )
    assert result.exit_code == 2 and "a token is of letters" in result.output
