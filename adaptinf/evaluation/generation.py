"""Answers by greedy generation, in batches, resumable at the next batch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from adaptinf.data.encoder import Encoder
from adaptinf.data.images import load_image
from adaptinf.data.sample import IMAGE_MARK, Turn
from adaptinf.evaluation.benchmarks import Benchmark, Question


@dataclass(frozen=True, slots=True)
class Generator:
    """A model with its encoder; ``answer`` is what an ordinary user of the model would see."""

    model: Any
    encoder: Encoder
    batch_size: int = 64

    def answer(
        self,
        benchmark: Benchmark,
        questions: Sequence[Question],
        partial: Path,
        advance: Callable[[int], None] = lambda rows: None,
    ) -> list[str]:
        """One stripped text per question, in order.

        Finished batches are appended to ``partial`` (JSONL), and read from it after a kill.
        Questions of similar length share a batch; which ones is decided by the texts alone.
        """
        texts = _read_partial(partial)
        order = sorted(range(len(questions)), key=lambda i: (_size(questions[i]), i))
        with partial.open("a") as log:
            for start in range(0, len(order), self.batch_size):
                batch = order[start : start + self.batch_size]
                if not all(i in texts for i in batch):
                    answers = self._generate(benchmark, [questions[i] for i in batch])
                    texts |= dict(zip(batch, answers, strict=True))
                    lines = [json.dumps({"item": i, "text": texts[i]}) + "\n" for i in batch]
                    log.write("".join(lines))
                    log.flush()
                advance(len(batch))
        return [texts[i] for i in range(len(questions))]

    def read(self, benchmark: Benchmark, questions: Sequence[Question]) -> Iterator[int]:
        """Have the model read questions without an answer; after each batch its number of rows."""
        for start in range(0, len(questions), self.batch_size):
            batch = questions[start : start + self.batch_size]
            with torch.inference_mode():
                self.model(**self._prompts(benchmark, batch))
            yield len(batch)

    def _prompts(self, benchmark: Benchmark, questions: Sequence[Question]) -> Any:
        turns = [[Turn("user", IMAGE_MARK * len(q.images) + q.text)] for q in questions]
        images = [[load_image(benchmark.images / path) for path in q.images] for q in questions]
        return self.encoder.encode_prompts(turns, images).to(self.model.device)

    def _generate(self, benchmark: Benchmark, questions: Sequence[Question]) -> list[str]:
        batch = self._prompts(benchmark, questions)
        with torch.inference_mode():
            ids = self.model.generate(
                **batch, max_new_tokens=benchmark.max_new_tokens, do_sample=False, num_beams=1
            )
        decode = self.encoder.processor.batch_decode
        fresh = ids[:, batch["input_ids"].shape[1] :]
        return [text.strip() for text in decode(fresh, skip_special_tokens=True)]


def _size(question: Question) -> tuple[int, int]:
    return len(question.images), len(question.text)


def _read_partial(partial: Path) -> dict[int, str]:
    """Answers of an earlier try; a line that the kill cut off ends the reading."""
    texts: dict[int, str] = {}
    if partial.is_file():
        whole = ""
        for line in partial.read_text().splitlines(keepends=True):
            try:
                entry = json.loads(line)
            except ValueError:
                break
            texts[entry["item"]] = entry["text"]
            whole += line
        partial.write_text(whole)
    return texts
