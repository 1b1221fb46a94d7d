"""A chat with a run, in the terminal or at a port."""

from __future__ import annotations

import os
import re
import secrets
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from adaptinf.chat.boxes import FRAMES
from adaptinf.chat.examples import openings_json
from adaptinf.chat.server import Server
from adaptinf.chat.service import Service
from adaptinf.chat.site import Site
from adaptinf.chat.talker import Bounds, Talker
from adaptinf.chat.terminal import Terminal, typed
from adaptinf.errors import UserError, suggestion
from adaptinf.report.atlas import build_atlas
from stages.chat import open_chat
from stages.run_recipe import recipe_of

TOKEN = "ADAPTINF_API_TOKEN"


@dataclass(frozen=True, slots=True)
class Wish:
    """Which run to talk to, how long answers may become, and what numbers of boxes mean.

    ``settings`` are those of ``open_chat``.
    """

    run: Path
    bounds: Bounds
    frame: str = "auto"
    settings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises ``UserError`` for a frame that is not known."""
        if self.frame not in FRAMES:
            hint = suggestion(self.frame, FRAMES)
            raise UserError("no such frame", where="--boxes", seen=self.frame, hint=hint)


def speak(wish: Wish, step: str) -> None:
    """Talk in the terminal until the person there ends it."""
    with open_chat(wish.run, _tell_learning, wish.settings) as talker:
        talker.require(step)
        Terminal(talker, wish.bounds, step, wish.frame).run(typed())


def serve(wish: Wish, host: str, port: int, *, page: bool) -> None:
    """Answer at a port until it is interrupted; without a token of the environment one is drawn.

    Raises:
        UserError: see ``open_chat`` and ``Server``; or a token that cannot be sent.
    """
    token = os.environ.get(TOKEN)
    if token and not re.fullmatch(r"[\w.~-]+", token, re.ASCII):
        raise UserError("a token is of letters, digits and . _ ~ -", where=TOKEN)
    known = token or secrets.token_urlsafe(24)
    with open_chat(wish.run, _tell_learning, wish.settings) as talker:
        documents = _site(wish.run, talker).documents() if page else {}
        service = Service(talker, known, wish.bounds, documents, wish.frame, time.time())
        with Server(service, host, port) as server:
            if page:
                print(f"chat: {server.url}/?token={known}")
            else:
                print(f"base URL: {server.url}/v1")
                if not token:
                    print(f"token: {known}")
            print("Ctrl-C ends it", flush=True)
            server.serve_forever(poll_interval=0.2)


def _site(run: Path, talker: Talker) -> Site:
    recipe = recipe_of(run)
    report = run / "report.html"
    return Site(
        name=run.resolve().name,
        model=recipe.model.name,
        route=recipe.adapter.route,
        steps=talker.steps,
        auto=talker.chooser is not None,
        examples=lambda: openings_json(run),
        selection=(lambda: build_atlas(run)) if any(run.glob("steps/*/select/DONE")) else None,
        report=(lambda: report.read_text("utf-8")) if report.is_file() else None,
    )


def _tell_learning(done: int, total: int) -> None:
    """A line that grows, of what is done once for each run."""
    if sys.stderr.isatty() or done == total:
        words = f"\rlearning what questions are like: {done:,}/{total:,}"
        print(words, end="\n" if done == total else "", file=sys.stderr)
