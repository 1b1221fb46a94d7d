"""A batch in, per-sample gradients, embeddings and scores out: one pass of the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from adaptinf.errors import UserError
from adaptinf.features.embeddings import Embeddings, Tokens
from adaptinf.features.forward import Forward, Forwarded
from adaptinf.features.gradients import (
    BackwardGradients,
    GradientSource,
    Kind,
    NoGradients,
    ZeroOrderGradients,
)
from adaptinf.features.grounding import UnseenLosses, Way
from adaptinf.features.inputs import Batch, BatchLayout
from adaptinf.features.sketch import GradientSketch
from adaptinf.features.taps import scoring_mode
from adaptinf.features.tokens import AnswerTokens
from adaptinf.models.parts import bare_model, layer_index, running_layers

Perplexity = Literal["exp-mean", "mean-exp"]


@dataclass(frozen=True, slots=True, eq=False)
class BatchFeatures:
    """Features of ``b`` rows, on the CPU.

    ``gradients`` [b, dim] float32 are unit vectors (or zero), ``gradient_norms`` [b] float32 the
    norms of the gradients before projection, ``embeddings`` [b, hidden] float32 mean states, by
    default the last ones over the positions that predict answer tokens. ``scores`` are float64 [b]
    by name:
    perplexity el2n entropy grand image_grounding. ``n_answer`` [b] int64 counts answer tokens; a
    row that has none has zero vectors and NaN scores.
    """

    gradients: Tensor
    gradient_norms: Tensor
    embeddings: Tensor
    scores: dict[str, Tensor]
    n_answer: Tensor

    @classmethod
    def join(cls, parts: Sequence[BatchFeatures]) -> BatchFeatures:
        """Features of all rows of several batches, in their order."""
        return cls(
            gradients=torch.cat([part.gradients for part in parts]),
            gradient_norms=torch.cat([part.gradient_norms for part in parts]),
            embeddings=torch.cat([part.embeddings for part in parts]),
            scores={
                name: torch.cat([part.scores[name] for part in parts]) for name in parts[0].scores
            },
            n_answer=torch.cat([part.n_answer for part in parts]),
        )


class FeatureExtractor:
    """Features of rows under a model, with or without an adapter (Adapt-Inf, step 1).

    The loss is, per row, the mean NLL over its answer tokens, so a row's features do not depend on
    what else is in the batch. The model is left as it was: weights, ``.grad``, flags, modes.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: int | float | str = "middle",
        dim: int = 1024,
        seed: int = 0,
        grounding: Way | None = "blank",
        gradients: Kind = "auto",
        embed_tokens: Tokens = "answer",
        embed_layer: int | float | str = "last",
        perplexity: Perplexity = "exp-mean",
    ) -> None:
        """An extractor for one ``layer`` of the text model, gradients projected to ``dim``.

        ``layer`` counts from 0, or is "first", "middle", "last" or a fraction of the depth. The
        projection follows from ``seed`` and the modules' names. Image grounding compares with
        "blank" images or with none ("drop"); its column is NaN, and costs nothing, with None.

        ``gradients`` are those of LoRA's matrices ("adapter", as in the paper), of the model's own
        ("weights": under any adapter or none; half of a fresh LoRA's are zero), the first where
        there are such and else the second ("auto"), "zero-order" estimates of the first, or "none":
        no backward pass, gradients of one zero each, and NaN for norms and grand.
        Embeddings are means over "answer", "text" or "image" tokens, of the last hidden states or
        of what another layer gives. ``perplexity`` is exp of the mean NLL of a row's answer tokens
        ("exp-mean") or the mean of exp of each ("mean-exp"); image grounding stays a ratio of the
        first.

        Raises:
            UserError: the model lacks a part that is needed, or the layer or its adapter; there is
                no such way of grounding, kind of gradients, of tokens or of perplexity.
        """
        if perplexity not in get_args(Perplexity):
            hint = f"give {' or '.join(get_args(Perplexity))}"
            raise UserError("no such perplexity", where="perplexity", seen=perplexity, hint=hint)
        layers = running_layers(model)
        self.layer = layer_index(layer, len(layers))
        self._model = bare_model(model)
        self._perplexity = perplexity
        self._forward = Forward(model)
        layout = BatchLayout.of(model)
        self._unseen = UnseenLosses(grounding, layout, self._forward)
        self._gradients = self._source(layers, gradients, GradientSketch(dim, seed))
        self._embeddings = Embeddings(layers, layout.image_token, embed_tokens, embed_layer)

    @property
    def kind(self) -> Kind:
        """What the gradients are of: adapter, weights, zero-order or none."""
        return self._gradients.kind

    @property
    def dim(self) -> int:
        """Length of a row's gradient, as it is given."""
        return self._gradients.dim

    @contextmanager
    def model_unchanged(self) -> Iterator[None]:
        """Inside, the model must not change; batches then share what they have in common."""
        with self._unseen.model_unchanged():
            yield

    def __call__(self, batch: Mapping[str, Any]) -> BatchFeatures:
        """The features of a batch: what the processor gives, and ``labels`` [b, T].

        Labels are -100 where no answer token stands; rows may be padded on either side. Costs a
        forward pass, a backward pass down to the chosen layer (unless no gradients are wanted) and,
        for the rows with an image, a second forward pass without gradient.

        Raises:
            ValueError: there are image tokens but no pixels.
        """
        rows = Batch.on(self._model, batch)
        with scoring_mode(self._model):
            wanted = self._embeddings.mask(rows)
            with self._embeddings.listening():
                found = self._gradients(rows, AnswerTokens.of(rows.labels).read | wanted)
            seen = found.seen
            with torch.no_grad():
                embeddings = self._embeddings.means(seen.hidden, wanted)
                unseen = self._unseen(rows, seen.losses.detach())
        return BatchFeatures(
            gradients=_unit(found.sketch).float().cpu(),
            gradient_norms=found.norms.float().cpu(),
            embeddings=embeddings.cpu(),
            scores=_scores(seen, found.norms, unseen, self._perplexity),
            n_answer=seen.answers.counts.cpu(),
        )

    def _source(self, layers: nn.ModuleList, kind: Kind, sketch: GradientSketch) -> GradientSource:
        if kind == "none":
            return NoGradients(layers, self._forward)
        if kind == "zero-order":
            return ZeroOrderGradients(layers, self.layer, self._forward, sketch)
        return BackwardGradients(layers, self.layer, kind, self._forward, sketch)


def _unit(vectors: Tensor) -> Tensor:
    """Vectors of length 1; those of length 0 or without a finite length become 0."""
    norms = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return torch.where((norms > 0) & norms.isfinite(), vectors / norms, 0.0)


def _scores(
    seen: Forwarded, norms: Tensor, unseen: Tensor, perplexity: Perplexity
) -> dict[str, Tensor]:
    """The scores by name. Image grounding = exp(NLL unseen - NLL seen), 1 without image."""
    nll = seen.losses.detach().cpu().double()
    columns = {
        "perplexity": nll.exp() if perplexity == "exp-mean" else _mean_of_exp(seen),
        "el2n": seen.answers.row_means(seen.tokens.el2n).cpu().double(),
        "entropy": seen.answers.row_means(seen.tokens.entropy).cpu().double(),
        "grand": norms.cpu().double(),
        "image_grounding": (unseen.cpu().double() - nll).exp(),
    }
    answered = seen.answers.counts.cpu() > 0
    return {name: torch.where(answered, column, torch.nan) for name, column in columns.items()}


def _mean_of_exp(seen: Forwarded) -> Tensor:
    """Mean [b] of exp(NLL) over the answer tokens, 1 / p of each: one rare token can be all of it.

    In float64, which holds it for losses up to 709; in float32 it would be infinite from 89 on.
    ``llava/grad_utils.py``, ``obtain_perplexity_score``, of the repository adymaharana/adapt-inf.
    """
    return seen.answers.row_means(seen.tokens.nll.detach().cpu().double().exp())
