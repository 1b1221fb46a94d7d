"""One forward pass of a batch, from its inputs to the scores of its answer tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from adaptinf.features.ending import Ending
from adaptinf.features.inputs import Batch
from adaptinf.features.tokens import AnswerTokens, TokenScores, token_scores
from adaptinf.models.backbone import Backbone
from adaptinf.models.parts import (
    logit_cap,
    output_embeddings,
    prefix_stands_alone,
    running_layers,
)
from adaptinf.models.prefix import Prefix
from adaptinf.models.prompts import prompts_of


@dataclass(frozen=True, slots=True, eq=False)
class Forwarded:
    """Last hidden states [b, T, h] of a batch, its answers, and the scores of their tokens."""

    hidden: Tensor
    answers: AnswerTokens
    tokens: TokenScores

    @property
    def losses(self) -> Tensor:
        """Mean NLL [b] over the answer tokens of each row; 0 where there is none."""
        return self.answers.row_means(self.tokens.nll)


class Forward:
    """Runs batches through a model and its output embeddings, without making their logits."""

    def __init__(self, model: nn.Module) -> None:
        """The forward pass of a model, bare or wrapped by PEFT.

        Raises:
            UserError: the model lacks a part that is needed.
        """
        self._model = model
        self._backbone = Backbone(model)
        self._ending = Ending(running_layers(model))
        self._head = output_embeddings(model)
        self._cap = logit_cap(model)
        self.prefix_stands_alone = prefix_stands_alone(model)

    @property
    def dtype(self) -> torch.dtype:
        """In what precision logits, and the signals back from them, are computed."""
        return self._head.weight.dtype

    def __call__(self, batch: Batch) -> Forwarded:
        """What comes out for a batch; gradients flow back through the losses alone."""
        with prompts_of(self._model, batch.labels):
            hidden = self._backbone(batch.inputs)
        return self._scored(hidden, batch.labels)

    def prefix(self, inputs: Mapping[str, Any]) -> Prefix:
        """What the model keeps of one row without padding, as the start of others."""
        return self._backbone.prefix(inputs)

    def losses(self, batch: Batch) -> Tensor:
        """The losses [b] alone, without what the last layer makes of any other token."""
        with self._ending.only_at(AnswerTokens.of(batch.labels).read):
            return self(batch).losses

    def losses_after(self, prefix: Prefix, text: Batch) -> Tensor:
        """The losses [b] of texts, padded on the right, that follow a prefix in every row."""
        ids, mask = text.inputs["input_ids"], text.inputs["attention_mask"]
        with self._ending.only_at(AnswerTokens.of(text.labels).read):
            hidden = self._backbone.after(prefix, ids, mask)
        return self._scored(hidden, text.labels).losses

    def _scored(self, hidden: Tensor, labels: Tensor) -> Forwarded:
        answers = AnswerTokens.of(labels)
        states = answers.states(hidden)
        tokens = token_scores(states, self._head, answers.targets, cap=self._cap)
        return Forwarded(hidden, answers, tokens)
