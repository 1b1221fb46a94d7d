"""Answers by greedy generation, in batches, on all ranks, resumable at the next batch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from adaptinf.data.encoder import Encoder
from adaptinf.data.images import load_image
from adaptinf.data.sample import Turn
from adaptinf.distributed import Ranks


class Asked(Protocol):
    """A question: its text with a mark for each image, and the images' paths."""

    @property
    def prompt(self) -> str:
        """What is asked."""

    @property
    def images(self) -> tuple[str, ...]:
        """What is shown, relative to ``Sheet.images``."""


class Sheet(Protocol):
    """What questions have in common: where their images are, how long an answer may be."""

    @property
    def images(self) -> Path:
        """The folder of the images."""

    @property
    def max_new_tokens(self) -> int:
        """Tokens of an answer, at most."""


@dataclass(frozen=True, slots=True)
class Generator:
    """A model with its encoder; ``answer`` is what an ordinary user of the model would see."""

    model: Any
    encoder: Encoder
    batch_size: int = 64

    def answer(
        self,
        sheet: Sheet,
        questions: Sequence[Asked],
        partial: Path,
        advance: Callable[[int], None] = lambda rows: None,
        ranks: Ranks | None = None,
    ) -> list[str]:
        """One stripped text per question, in order; on ranks that do not lead, nothing.

        Finished batches are appended to ``partial`` (JSONL; each rank has a file beside it), and
        read from there after a kill, whatever number of ranks there was. Questions of similar
        length share a batch; which ones is decided by the texts alone.
        """
        ranks = ranks or Ranks()
        own = partial if ranks.leads else _beside(partial, ranks.rank)
        _mend(own)
        ranks.meet()  # every file is whole, and
        texts = _read_partials(partial)
        ranks.meet()  # has been read before one grows
        order = sorted(range(len(questions)), key=lambda i: (_size(questions[i]), i))
        batches = [
            order[start : start + self.batch_size]
            for start in range(0, len(order), self.batch_size)
        ]
        pending = [batch for batch in batches if not all(i in texts for i in batch)]
        if len(pending) < len(batches):
            advance(len(order) - sum(map(len, pending)))
        with own.open("a") as log:
            for start in range(0, len(pending), ranks.size):
                together = pending[start : start + ranks.size]
                for batch in ranks.share(together):
                    answers = self._generate(sheet, [questions[i] for i in batch])
                    pairs = zip(batch, answers, strict=True)
                    lines = [json.dumps({"item": i, "text": text}) + "\n" for i, text in pairs]
                    log.write("".join(lines))
                    log.flush()
                advance(sum(map(len, together)))
        ranks.meet()
        if not ranks.leads:
            return []
        texts = _read_partials(partial)
        return [texts[i] for i in range(len(questions))]

    def read(self, sheet: Sheet, questions: Sequence[Asked]) -> Iterator[int]:
        """Have the model read questions without an answer; after each batch its number of rows."""
        for start in range(0, len(questions), self.batch_size):
            batch = questions[start : start + self.batch_size]
            with torch.inference_mode():
                self.model(**self._prompts(sheet, batch))
            yield len(batch)

    def _prompts(self, sheet: Sheet, questions: Sequence[Asked]) -> Any:
        turns = [[Turn("user", q.prompt)] for q in questions]
        images = [[load_image(sheet.images / path) for path in q.images] for q in questions]
        return self.encoder.encode_prompts(turns, images).to(self.model.device)

    def _generate(self, sheet: Sheet, questions: Sequence[Asked]) -> list[str]:
        fresh = generate(self.model, self._prompts(sheet, questions), sheet.max_new_tokens)
        return texts_of(self.encoder, fresh)


def generate(
    model: Any, batch: Any, max_new_tokens: int, *, beams: int = 1, **options: Any
) -> torch.Tensor:
    """The tokens [rows, new] that follow a batch of prompts; of several beams the likeliest."""
    with torch.inference_mode():
        ids: torch.Tensor = model.generate(
            **batch, max_new_tokens=max_new_tokens, do_sample=False, num_beams=beams, **options
        )
    return ids[:, batch["input_ids"].shape[1] :]


def texts_of(encoder: Encoder, fresh: torch.Tensor) -> list[str]:
    """Generated tokens [rows, new] as stripped texts."""
    decode = encoder.processor.batch_decode
    return [text.strip() for text in decode(fresh, skip_special_tokens=True)]


def _size(question: Asked) -> tuple[int, int]:
    return len(question.images), len(question.prompt)


def remove_partials(partial: Path) -> None:
    """Throw away what ``answer`` has kept for after a kill."""
    for file in _partials(partial):
        file.unlink()


def _beside(partial: Path, rank: int) -> Path:
    return partial.with_name(f"{partial.stem}.{rank}{partial.suffix}")


def _partials(partial: Path) -> list[Path]:
    """The files of all ranks, of this try or of earlier ones."""
    return sorted(partial.parent.glob(f"{partial.stem}*{partial.suffix}"))


def _mend(file: Path) -> None:
    """Take away the line that a kill has cut off, and what follows it."""
    if file.is_file():
        whole = [line for line, _ in _lines(file)]
        file.write_text("".join(whole))


def _read_partials(partial: Path) -> dict[int, str]:
    """Answers by the number of the question."""
    entries = (entry for file in _partials(partial) for _, entry in _lines(file))
    return {entry["item"]: entry["text"] for entry in entries}


def _lines(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Whole lines with what they say, up to one that is cut off."""
    for line in file.read_text().splitlines(keepends=True):
        try:
            yield line, json.loads(line)
        except ValueError:
            return
