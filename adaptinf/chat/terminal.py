"""A chat in a terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from adaptinf.chat.boxes import drawn_boxes
from adaptinf.chat.choice import Choice
from adaptinf.chat.messages import Message
from adaptinf.chat.pictures import COUNT
from adaptinf.chat.talker import AUTO, Bounds, Talker
from adaptinf.data.images import load_image
from adaptinf.errors import UserError

HELP = """\
/image FILE ...   show images with the next question
/step NAME        who answers from now on: auto, or one of {steps}
/beside NAME      answer twice, by this step too; /beside alone ends that
/retry            the last question again
/new              begin anew
/quit             end (so does Ctrl-D); Ctrl-C stops an answer"""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass
class Terminal:
    """Reads questions and says answers, line by line."""

    talker: Talker
    bounds: Bounds
    step: str = AUTO
    frame: str = "auto"
    write: Callable[[str], object] = sys.stdout.write
    flush: Callable[[], object] = sys.stdout.flush
    beside: str | None = None
    said: list[Message] = field(default_factory=list)
    images: list[Path] = field(default_factory=list)

    def run(self, lines: Iterable[str]) -> None:
        """Until the lines end, or one says /quit."""
        self._line(f"steps: {', '.join(self.talker.steps)}; /help says what can be typed")
        for line in lines:
            words = line.strip()
            try:
                if words == "/quit":
                    return
                self._take(words)
            except UserError as error:
                self._line("\n".join(error.lines))
            except KeyboardInterrupt:
                self._line(" (stopped)")

    def _take(self, words: str) -> None:
        command, _, rest = words.partition(" ")
        if not words.startswith("/"):
            if words or self.images:
                self._ask(self._question(words))
        elif command == "/help":
            self._line(HELP.format(steps=", ".join(self.talker.steps)))
        elif command == "/image":
            self._show(rest.strip())
        elif command == "/step":
            self.talker.require(rest.strip())
            self.step = rest.strip()
        elif command == "/beside":
            if rest.strip():
                self.talker.require(rest.strip())
            self.beside = rest.strip() or None
        elif command == "/new":
            self.said, self.images = [], []
        elif command == "/retry":
            if len(self.said) < 2:
                raise UserError("nothing has been asked yet")
            self.said, question = self.said[:-2], self.said[-2]
            self._ask(question)
        else:
            raise UserError("no such command", seen=command, hint="/help lists them")

    def _show(self, names: str) -> None:
        """One file whose name may have spaces, or several without."""
        found = [Path(names)] if Path(names).is_file() else [Path(name) for name in names.split()]
        shown = sum(len(message.images) for message in self.said)
        if not found or shown + len(self.images) + len(found) > COUNT:
            hint = f"{COUNT} in a conversation"
            raise UserError("give files of images", where="/image", hint=hint)
        for path in found:
            load_image(path)  # told now, and not at the question
        self.images += found
        self._line(f"{len(self.images)} to be shown with the next question")

    def _question(self, words: str) -> Message:
        try:
            images = tuple(load_image(path) for path in self.images)
        finally:
            self.images = []
        return Message("user", words, images)

    def _ask(self, question: Message) -> None:
        """Answer, twice if one stands beside; the conversation goes on from the first answer."""
        messages = [*self.said, question]
        text = self._answer(messages, self.step)
        self.said = [*messages, Message("assistant", text)]
        if self.beside:
            self._answer(messages, self.beside)

    def _answer(self, messages: list[Message], step: str) -> str:
        def begun(step: str, choice: Choice | None) -> None:
            self._write(f"[{step}{', ' + choice.reason if choice else ''}] ")

        reply = self.talker.answer(messages, step, self.bounds, self._write, begun)
        self._line(" (cut off)" if reply.ended == "length" else "")
        shown = [image for message in messages for image in message.images]
        for box in drawn_boxes(reply.text, shown[-1].size, self.frame) if shown else ():
            corners = zip(box, 2 * shown[-1].size, strict=True)
            pixels = ", ".join(f"{share * side:.0f}" for share, side in corners)
            self._line(f"  box in pixels: {pixels}")
        return reply.text

    def _write(self, text: str) -> None:
        """What a model says may steer a terminal no more than what a dataset says."""
        self.write(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", text))
        self.flush()

    def _line(self, text: str) -> None:
        self._write(text)
        self.write("\n")


def typed() -> Iterable[str]:
    """Lines as a person types them, with history where the terminal has it."""
    with suppress(ImportError):
        import readline  # noqa: F401, line editing in input()
    prompt = "> " if sys.stdin.isatty() else ""
    while True:
        try:
            yield input(prompt)
        except EOFError:
            return
        except KeyboardInterrupt:
            print()
            return
