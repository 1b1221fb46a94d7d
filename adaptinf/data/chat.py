"""A processor's chat template, asked for text and for where in it the answers stand."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, zip_longest
from typing import Any, TypeAlias

from jinja2 import TemplateError

from adaptinf.data.sample import IMAGE_MARK, Turn
from adaptinf.data.templates import passes_texts_on
from adaptinf.errors import UserError

# LLaVA writes "<image>\nquestion" and "question\n<image>": the line break belongs to the mark.
_MARK = re.compile(rf"\n?{re.escape(IMAGE_MARK)}\n?")

_PROBE = (
    Turn("user", "one"),
    Turn("assistant", "two"),
    Turn("user", "three"),
    Turn("assistant", "four"),
)

_Pieces: TypeAlias = list[str | None]
"""The texts of a turn in reading order, None where an image stands."""


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


@dataclass(frozen=True, slots=True)
class Frame:
    """What a template writes around the texts of a conversation of one shape.

    ``pieces`` stand before, between and after the texts. Each answer is a pair of places, each the
    number of a piece and the character in it.
    """

    pieces: tuple[str, ...]
    places: tuple[tuple[tuple[int, int], tuple[int, int]], ...]

    @classmethod
    def of(cls, rendered: Rendered, markers: Sequence[str]) -> Frame | None:
        """The frame around ``markers``; None unless each is there once, in this order."""
        pieces, starts, rest, at = [], [], rendered.text, 0
        for marker in markers:
            before, found, after = rest.partition(marker)
            if not found or marker in after:
                return None
            pieces.append(before)
            starts.append(at)
            at += len(before) + len(marker)
            rest = after
        pieces.append(rest)
        starts.append(at)

        def place(position: int) -> tuple[int, int] | None:
            number = bisect_right(starts, position) - 1
            inside = position - starts[number]
            return (number, inside) if inside <= len(pieces[number]) else None

        places = []
        for answer in rendered.answers:
            start, stop = place(answer.start), place(answer.stop)
            if start is None or stop is None:
                return None
            places.append((start, stop))
        return cls(tuple(pieces), tuple(places))

    def text(self, contents: Sequence[str]) -> str:
        """The pieces around ``contents``."""
        pairs = zip_longest(self.pieces, contents, fillvalue="")
        return "".join([part for pair in pairs for part in pair])

    def answers(self, text: str, contents: Sequence[str]) -> tuple[Span, ...] | None:
        """Where the answers stand in a text that is these pieces around ``contents``, else None."""
        starts, at = [], 0
        for piece, content in zip_longest(self.pieces, contents, fillvalue=""):
            starts.append(at)
            at += len(piece)
            if not (text.startswith(piece, starts[-1]) and text.startswith(content, at)):
                return None
            at += len(content)
        if at != len(text):
            return None
        return tuple(
            Span(starts[first] + start, starts[last] + stop)
            for (first, start), (last, stop) in self.places
        )


class Chat:
    """Renders turns with the chat template of any Hugging Face processor.

    Raises ``UserError`` when the processor has no template, or one whose text of the first turns
    changes as the conversation goes on, so that answers cannot be located in it.
    """

    def __init__(self, processor: Any) -> None:
        tokenizer = processor.tokenizer
        self._processor = processor
        self._special = _special_tokens(processor)
        self._special_by_sign: dict[str, list[str]] = {}
        for token in filter(None, self._special):
            self._special_by_sign.setdefault(token[:1], []).append(token)
        self._closing = ""
        self._passes_on = passes_texts_on(_template(processor))
        self._frames: dict[tuple[tuple[Any, ...], ...], Frame | None] = {}
        self.placeholder: str = getattr(processor, "image_token", None) or IMAGE_MARK
        try:
            rendered = self._rendered_by_beginnings(self.messages(_PROBE))
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
        return self._messages(turns, [self._pieces(turn) for turn in turns])

    def prompt(self, turns: Sequence[Turn]) -> str:
        """The text up to the place where the model is to answer the last user turn."""
        return self._render([self.messages(turns)], generation=True)[0]

    def rendered(self, turns: Sequence[Turn]) -> Rendered:
        """The whole conversation, and where its answers stand.

        An answer begins where the prompt before it ends, and ends where the text of the turns up
        to it ends. Raises ``RenderError`` where the template does not have them so.

        Where answers stand in a conversation of so many turns, and of such parts, is found once,
        by rendering every beginning of one that is made of markers. Another one like it is rendered
        as a whole only, and is taken for the same if it is made of the same pieces around its own
        text; if it is not, its own beginnings are rendered.
        """
        return self._rendered(turns, [self._pieces(turn) for turn in turns])

    def _rendered(self, turns: Sequence[Turn], pieces: Sequence[_Pieces]) -> Rendered:
        messages = self._messages(turns, pieces)
        text = self._whole(messages)
        frame = self._frame_of(turns, pieces)
        answers = frame.answers(text, _texts(pieces)) if frame else None
        if answers is None:
            return self._rendered_by_beginnings(messages)
        return Rendered(text, answers)

    def texts(self, conversations: Sequence[Sequence[Turn]]) -> list[str | RenderError]:
        """The text of each conversation, as ``rendered`` has it, or why it cannot be rendered.

        Where the template passes texts on, the pieces of the first of a kind serve all.
        """
        return [self._text(turns) for turns in conversations]

    def _text(self, turns: Sequence[Turn]) -> str | RenderError:
        try:
            pieces = [self._pieces(turn) for turn in turns]
            frame = self._frame_of(turns, pieces) if self._passes_on else None
            return frame.text(_texts(pieces)) if frame else self._rendered(turns, pieces).text
        except RenderError as error:
            return error

    def _whole(self, messages: list[dict[str, Any]]) -> str:
        try:
            return self._render([messages], generation=False)[0]
        except (ValueError, TypeError, TemplateError) as error:
            where = type(self._processor).__name__
            raise RenderError(f"the chat template refuses it: {error}", where=where) from error

    def _frame_of(self, turns: Sequence[Turn], pieces: Sequence[_Pieces]) -> Frame | None:
        """What stands around the texts of such turns; None where it cannot be told."""
        shape = tuple(
            [(turn.role, *map(type, some)) for turn, some in zip(turns, pieces, strict=True)]
        )
        if shape not in self._frames:
            self._frames[shape] = self._frame(turns, pieces)
        return self._frames[shape]

    def _frame(self, turns: Sequence[Turn], pieces: Sequence[_Pieces]) -> Frame | None:
        number = count()
        marks = [
            [None if piece is None else f"marker{next(number)}\nend" for piece in some]
            for some in pieces
        ]
        marked = self._messages(turns, marks)
        try:
            rendered = self._rendered_by_beginnings(marked)
        except (RenderError, ValueError, TypeError, TemplateError):
            return None
        answers = (rendered.text[answer.start : answer.stop] for answer in rendered.answers)
        # Without a token that ends an answer, where it ends depends on its text.
        return Frame.of(rendered, _texts(marks)) if all(map(self._end_of_turn, answers)) else None

    def _rendered_by_beginnings(self, messages: list[dict[str, Any]]) -> Rendered:
        """The same, by the rendered text of every beginning, which the whole must begin with."""
        ends = [i + 1 for i, message in enumerate(messages) if message["role"] == "assistant"]
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

    def _special_token_in(self, text: str) -> str | None:
        """The first special token of the tokenizer that a text holds; there may be thousands."""
        for sign, tokens in self._special_by_sign.items():
            if sign in text:
                found = next((token for token in tokens if token in text), None)
                if found is not None:
                    return found
        return None

    def _pieces(self, turn: Turn) -> _Pieces:
        """The texts of a turn, none of them empty, and where its images stand among them.

        There is at least one piece, and an answer ends with a text, empty or not.
        """
        texts = _MARK.split(turn.text) if IMAGE_MARK in turn.text else [turn.text]
        pieces: _Pieces = []
        for number, text in enumerate(texts):
            found = self._special_token_in(text)
            if found is not None:
                raise RenderError("the text holds a special token of the tokenizer", seen=found)
            if number:
                pieces.append(None)
            if text:
                pieces.append(text)
        if not pieces or (turn.role == "assistant" and pieces[-1] is None):
            pieces.append("")
        return pieces

    def _messages(self, turns: Sequence[Turn], pieces: Sequence[_Pieces]) -> list[dict[str, Any]]:
        """Turns made of such pieces as template input; answers are closed."""
        messages = []
        for turn, some in zip(turns, pieces, strict=True):
            parts = [{"type": "image"} if p is None else {"type": "text", "text": p} for p in some]
            if turn.role == "assistant":
                parts[-1]["text"] += self._closing
            messages.append({"role": turn.role, "content": parts})
        return messages

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


def _texts(pieces: Sequence[_Pieces]) -> list[str]:
    return [piece for some in pieces for piece in some if piece is not None]


def _template(processor: Any) -> str:
    """The template that is rendered, as far as it is a single one."""
    template = getattr(processor, "chat_template", None)
    return template if isinstance(template, str) else "{{ messages | tojson }}"


def _special_tokens(processor: Any) -> tuple[str, ...]:
    tokenizer = processor.tokenizer
    added = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    image = getattr(processor, "image_token", None)
    return tuple(sorted({*added, *tokenizer.all_special_tokens, *([image] if image else [])}))
