"""One model in memory that answers as it was after any step of its run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from transformers import BatchFeature, TextStreamer

from adaptinf.chat.choice import Choice, Chooser, look
from adaptinf.chat.line import Line
from adaptinf.chat.messages import Message, Prompt, latest, prompt_of
from adaptinf.data.encoder import Encoder
from adaptinf.errors import UserError, suggestion
from adaptinf.evaluation.generation import generate, texts_of

AUTO = "auto"
BASE = "base"

Tell = Callable[[str], object]


class Models(Protocol):
    """The models of a run."""

    @property
    def steps(self) -> Sequence[str]:
        """Their names, the untouched one first, the latest last."""

    def at(self, step: str) -> AbstractContextManager[Any]:
        """The model as it was after a step, for as long as this is open."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, stripped; whose it is, and why that one was chosen if nobody named it.

    ``ended``: the model came to an end, or was cut off by the number of tokens or by time.
    """

    text: str
    step: str
    choice: Choice | None
    prompt_tokens: int
    tokens: int
    ended: Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long an answer may become, in tokens and seconds, and of how many beams it is."""

    tokens: int = 256
    seconds: float = 120.0
    beams: int = 1


class Talker:
    """Answers conversations, one at a time, by the step that each names."""

    def __init__(
        self,
        models: Models,
        encoder: Encoder,
        chooser: Chooser | None = None,
        line: Line | None = None,
    ) -> None:
        self.chooser = chooser
        self._models = models
        self._encoder = encoder
        self._line = line or Line()

    @property
    def steps(self) -> tuple[str, ...]:
        """Names that can be asked for, but for ``auto``: the base model first, the latest last."""
        return tuple(self._models.steps)

    def require(self, step: str) -> None:
        """Raises ``UserError`` for a step that there is not."""
        if step not in (AUTO, *self.steps):
            hint = suggestion(step, (AUTO, *self.steps))
            raise UserError("no such step", where="model", seen=step[:80], hint=hint)

    def answer(
        self,
        messages: Sequence[Message],
        step: str = AUTO,
        bounds: Bounds | None = None,
        tell: Tell | None = None,
        chosen: Callable[[str, Choice | None], object] = lambda step, choice: None,
    ) -> Reply:
        """What the model says, as evaluation would have it: the likeliest tokens.

        ``chosen`` is told the step before the first word, ``tell`` each piece of text as it comes,
        all at the end with several beams. What they raise ends the answer, and with it the turn.

        Raises:
            UserError: no such step, no conversation, or one too long for the model.
            Busy: others are before.
        """
        self.require(step)
        prompt = prompt_of(messages)
        self._encoder.prompt(prompt.turns)  # what cannot be rendered need not wait for its turn
        with self._line.turn():
            choice = None
            if step == AUTO:
                choice = self._choose(latest(messages))
                step = choice.step
            chosen(step, choice)
            with self._models.at(step) as model:
                return self._say(model, prompt, step, choice, bounds or Bounds(), tell)

    def _choose(self, asked: Prompt) -> Choice:
        if self.chooser is None:
            return Choice(self.steps[-1], None, None, "the latest step")
        with self._models.at(BASE) as model:
            batch = self._encoder.encode_prompts([asked.turns], [asked.images])
            self._fitting(batch, 0)
            return self.chooser.choose(look(model, batch)[0])

    def _say(
        self,
        model: Any,
        prompt: Prompt,
        step: str,
        choice: Choice | None,
        bounds: Bounds,
        tell: Tell | None,
    ) -> Reply:
        batch = self._encoder.encode_prompts([prompt.turns], [prompt.images]).to(model.device)
        most = self._fitting(batch, bounds.tokens)
        options: dict[str, Any] = {}
        if tell and bounds.beams == 1:
            options["streamer"] = _Telling(self._encoder.processor.tokenizer, tell)
        until = time.monotonic() + bounds.seconds
        fresh = generate(model, batch, most, beams=bounds.beams, max_time=bounds.seconds, **options)
        (text,) = texts_of(self._encoder, fresh)
        if tell and bounds.beams > 1:
            tell(text)
        cut = fresh.shape[1] >= most or time.monotonic() >= until
        return Reply(
            text=text,
            step=step,
            choice=choice,
            prompt_tokens=batch["input_ids"].shape[1],
            tokens=fresh.shape[1],
            ended="length" if cut and not self._ends(model, int(fresh[0, -1])) else "stop",
        )

    def _fitting(self, batch: BatchFeature, most: int) -> int:
        """How many tokens an answer may have behind this prompt."""
        length = int(batch["input_ids"].shape[1])
        room = self._encoder.max_length - length
        if room < 1:
            raise UserError(
                f"the conversation has {length} tokens and the model reads "
                f"{self._encoder.max_length}",
                where="messages",
                hint="begin a new one, or show fewer images",
            )
        return min(most, room)

    def _ends(self, model: Any, token: int) -> bool:
        ends = model.generation_config.eos_token_id
        return token in (ends if isinstance(ends, list) else [ends])


class _Telling(TextStreamer):
    """Hands words on as soon as they are whole; ``tell`` is called where the model computes."""

    def __init__(self, tokenizer: Any, tell: Tell) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._tell = tell
        self._begun = False

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """As the library calls it; white space before the first word is left out."""
        piece = text if self._begun else text.lstrip()
        if piece:
            self._begun = True
            self._tell(piece)
