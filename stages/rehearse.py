"""Have the model answer old questions about new images, as it does before the step trains it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from adaptinf.data import reasons
from adaptinf.data.encoder import Encoder, Measured
from adaptinf.data.images import ImageInfo
from adaptinf.data.pool import PoolRow, PoolTable, read_images, read_pool, write_pool
from adaptinf.data.rehearsal import answered, questions_for
from adaptinf.data.sample import IMAGE_MARK, Sample
from stages.context import Context, Step
from stages.lineage import Lineage
from stages.work import Counts, Progress, Work, derived_seed

VERSION = 1

REHEARSAL = "rehearsal.parquet"
"""The rows that it makes, as the pool has its own; ``source_id`` is the uid of the old row."""


def rehearse_work(context: Context, step: Step, ingest: Work, lineage: Lineage) -> Work:
    """Questions of older rows of the step's pool, answered by the model of the step before."""
    recipe = context.recipe
    return Work(
        step=step.name,
        stage="rehearse",
        version=VERSION,
        settings={
            **recipe.rehearse.lasting(),
            "batch_size": recipe.evaluate.batch_size,
            "max_length": recipe.data.max_length,
            "seed": recipe.seed,
        },
        inputs={
            "model": context.model_fingerprint,
            "ingest": ingest.fingerprint,
            **lineage.inputs,
        },
        folder=context.run / "steps" / step.name / "rehearse",
        shared=True,
        perform=partial(_rehearse, context, step, ingest, lineage),
        reads=(ingest.folder, *lineage.folders),
    )


@dataclass(frozen=True, slots=True)
class _Prompt:
    prompt: str
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Sheet:
    images: Path
    max_new_tokens: int


def _rehearse(
    context: Context, step: Step, ingest: Work, lineage: Lineage, folder: Path, progress: Progress
) -> Counts:
    from adaptinf.evaluation.generation import Generator, remove_partials

    settings = context.recipe.rehearse
    pool = read_pool(ingest.folder / "pool.parquet")
    seed = derived_seed(context.recipe.seed, step.index, "rehearse")
    asked = questions_for(pool, step.index, settings.rows, seed)
    maker = _Maker(read_images(ingest.folder / "images.parquet"), context.encoder)
    fitting = maker.fitting(asked)
    progress.total(len(fitting))
    prompts = [_Prompt(one.turns[0].text, one.images) for one in fitting]
    sheet = _Sheet(context.image_root(step.label), settings.max_new_tokens)
    partial_file = folder / "answers.partial.jsonl"
    with context.model.adapted(lineage) as model:
        generator = Generator(model, context.encoder, context.recipe.evaluate.batch_size)
        texts = generator.answer(sheet, prompts, partial_file, progress.advance, context.ranks)
    if not context.ranks.leads:
        return Counts(len(asked), 0)
    faults = [maker.fault(text, settings.max_new_tokens) for text in texts]
    pairs = zip(fitting, texts, faults, strict=True)
    rows = maker.rows([(one, text) for one, text, fault in pairs if fault is None], step.index)
    write_pool(folder / REHEARSAL, PoolTable.from_rows(rows))
    remove_partials(partial_file)
    dropped = Counter(fault for fault in faults if fault is not None)
    dropped[reasons.TOO_LONG] += len(asked) - len(fitting)
    if not asked:
        progress.note("no question of an older row can be asked")
    return Counts(len(asked), len(rows), {reason: n for reason, n in dropped.items() if n})


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes rows of questions and answers; knows the images and what fits the model."""

    images: Mapping[str, ImageInfo]
    encoder: Encoder

    def fitting(self, asked: Sequence[Sample]) -> list[Sample]:
        """The questions that leave room for an answer."""
        lengths = self._lengths([answered(one, "-", ()) for one in asked])
        return [one for one, n in zip(asked, lengths, strict=True) if n is not None]

    def fault(self, text: str, max_new_tokens: int) -> str | None:
        """Why an answer is not to be learned, if it is not."""
        if not text:
            return reasons.EMPTY_ANSWER
        if IMAGE_MARK in text:
            return reasons.IMAGE_MARK_MISMATCH
        tokens = self.encoder.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        return reasons.UNFINISHED if len(tokens) >= max_new_tokens else None

    def rows(self, pairs: Sequence[tuple[Sample, str]], arrived: int) -> list[PoolRow]:
        """The rows of these questions and answers, with their lengths."""
        known = self.images
        samples = [
            answered(one, text, [known[name].digest for name in one.images]) for one, text in pairs
        ]
        lengths = self._lengths(samples)
        return [
            PoolRow(sample, arrived, self.encoder.max_length if n is None else n)
            for sample, n in zip(samples, lengths, strict=True)
        ]

    def _lengths(self, samples: Sequence[Sample]) -> list[int | None]:
        """Tokens of rows; None of those that do not fit."""
        sizes = [[self.images[name] for name in sample.images] for sample in samples]
        measured = self.encoder.lengths(samples, sizes) if samples else []
        return [
            one.n_tokens if isinstance(one, Measured) and one.fits == "whole" else None
            for one in measured
        ]
