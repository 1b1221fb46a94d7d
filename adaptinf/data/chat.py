"""A processor's chat template, asked for text and for where in it the answers stand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from adaptinf.data.sample import IMAGE_MARK, Turn
from adaptinf.errors import UserError

# LLaVA writes "<image>\nquestion" and "question\n<image>": the line break belongs to the mark.
_MARK = re.compile(rf"\n?{re.escape(IMAGE_MARK)}\n?")

_PROBE = (
    Turn("user", "one"),
    Turn("assistant", "two"),
    Turn("user", "three"),
    Turn("assistant", "four"),
)


class RenderError(UserError):
    """A conversation that the chat template or the tokenizer cannot carry faithfully."""


@dataclass(frozen=True, slots=True)
class Span:
    """Characters ``start`` up to, not including, ``stop``."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Rendered:
    """The text of a conversation, image placeholders unexpanded, and the span of each answer.

    A span holds the answer and the token that ends the turn, but no white space after it.
    """

    text: str
    answers: tuple[Span, ...]


class Chat:
    """Renders turns with the chat template of any Hugging Face processor.

    Raises ``UserError`` when the processor has no template, or one whose text of the first turns
    changes as the conversation goes on, so that answers cannot be located in it.
    """

    def __init__(self, processor: Any) -> None:
        tokenizer = processor.tokenizer
        self._processor = processor
        self._special = _special_tokens(processor)
        self._closing = ""
        self.placeholder: str = getattr(processor, "image_token", None) or IMAGE_MARK
        try:
            rendered = self.rendered(_PROBE)
        except (ValueError, TypeError, TemplateError) as error:
            raise UserError(
                "the processor has no chat template that can be used",
                where=type(processor).__name__,
                seen=str(error),
                hint="save one with the processor (chat_template.jinja)",
            ) from error
        # The template of llava-hf ends an answer with a blank. Trained on that, a model never
        # learns to stop, so such answers are closed with the tokenizer's own end token.
        last = rendered.answers[-1]
        if not self._end_of_turn(rendered.text[last.start : last.stop]):
            self._closing = tokenizer.eos_token or ""

    def messages(self, turns: Sequence[Turn]) -> list[dict[str, Any]]:
        """The turns as template input: text parts and image parts in reading order.

        Raises ``RenderError`` where a text holds a special token of the tokenizer, which would be
        read as the token and not as the text.
        """
        return [{"role": turn.role, "content": self._parts(turn)} for turn in turns]

    def prompt(self, turns: Sequence[Turn]) -> str:
        """The text up to the place where the model is to answer the last user turn."""
        return self._render([self.messages(turns)], generation=True)[0]

    def rendered(self, turns: Sequence[Turn]) -> Rendered:
        """The whole conversation, and where its answers stand.

        An answer begins where the prompt before it ends, and ends where the text of the turns up
        to it ends. Both are rendered and must be beginnings of the whole text.
        """
        messages = self.messages(turns)
        ends = [i + 1 for i, turn in enumerate(turns) if turn.role == "assistant"]
        befores = self._render([messages[: end - 1] for end in ends], generation=True)
        afters = self._render([messages[:end] for end in ends], generation=False)
        text = afters[-1]
        spans = []
        for before, after in zip(befores, afters, strict=True):
            if not (after.startswith(before) and text.startswith(after)):
                raise RenderError(
                    "the chat template rewrites earlier turns, so answers cannot be located",
                    where=type(self._processor).__name__,
                    hint="use a template that only appends text for every further turn",
                )
            start = len(before)
            spans.append(Span(start, start + self._answer_length(after[start:])))
        return Rendered(text, tuple(spans))

    def _parts(self, turn: Turn) -> list[dict[str, str]]:
        parts: list[dict[str, str]] = []
        for i, text in enumerate(_MARK.split(turn.text)):
            found = next((token for token in self._special if token in text), None)
            if found is not None:
                raise RenderError("the text holds a special token of the tokenizer", seen=found)
            if i > 0:
                parts.append({"type": "image"})
            if text:
                parts.append({"type": "text", "text": text})
        if not parts or (turn.role == "assistant" and parts[-1]["type"] == "image"):
            parts.append({"type": "text", "text": ""})
        if turn.role == "assistant":
            parts[-1]["text"] += self._closing
        return parts

    def _render(self, conversations: list[list[dict[str, Any]]], *, generation: bool) -> list[str]:
        texts: list[str] = self._processor.apply_chat_template(
            conversations, add_generation_prompt=generation, tokenize=False
        )
        return texts

    def _end_of_turn(self, text: str) -> int:
        """Where the last special token of ``text`` ends, placeholders apart; 0 without one."""
        found = ((text.rfind(token), token) for token in self._special if token != self.placeholder)
        return max((at + len(token) for at, token in found if at >= 0), default=0)

    def _answer_length(self, text: str) -> int:
        return self._end_of_turn(text) or len(text.rstrip())


def _special_tokens(processor: Any) -> tuple[str, ...]:
    tokenizer = processor.tokenizer
    added = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    image = getattr(processor, "image_token", None)
    return tuple(sorted({*added, *tokenizer.all_special_tokens, *([image] if image else [])}))
