"""A talker without a model, for the pages around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from adaptinf.chat.choice import Choice
from adaptinf.chat.messages import Message
from adaptinf.chat.talker import Reply, Talker


@dataclass
class Scripted(Talker):
    """Says what it is told to, word by word, and remembers what it was asked."""

    says: Callable[[list[Message], str], str] = lambda messages, step: f"{step} {len(messages)}"
    asked: list[list[Message]] = field(default_factory=list)
    between: Callable[[str], object] = lambda word: None

    @property
    def steps(self) -> tuple[str, ...]:
        return ("base", "1-shop")

    def answer(self, messages, step="auto", bounds=None, tell=None, chosen=lambda *_: None):
        self.asked.append(list(messages))
        choice = Choice("1-shop", "read", 0.9, "like read (90%)") if step == "auto" else None
        who = choice.step if choice else step
        chosen(who, choice)
        text = self.says(messages, who)
        for word in text.split(" "):
            tell(word + " ")
            self.between(word)
        return Reply(text, who, choice, 1, 2, "stop")
