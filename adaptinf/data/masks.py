"""A row as the model is trained on it: which of its tokens are images, and which bear the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from adaptinf.data.collator import Collator
from adaptinf.data.encoder import IGNORED
from adaptinf.data.sample import Sample

Kind = Literal["image", "plain", "answer"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Neighbouring tokens of one kind: their text, and how many they are."""

    kind: Kind
    text: str
    tokens: int


def masked(collator: Collator, sample: Sample) -> list[Piece]:
    """The pieces of a row, decoded from the encoder's own tokens and labels, images included."""
    batch = collator([sample])
    ids, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
    encoder = collator.encoder
    tokenizer = encoder.processor.tokenizer
    mark = encoder.chat.placeholder
    image = tokenizer.convert_tokens_to_ids(mark)

    def kind(pair: tuple[int, int]) -> Kind:
        return "image" if pair[0] == image else "plain" if pair[1] == IGNORED else "answer"

    pieces = []
    for name, group in groupby(zip(ids, labels, strict=True), key=kind):
        tokens = [token for token, _ in group]
        text = mark if name == "image" else tokenizer.decode(tokens)
        pieces.append(Piece(name, text, len(tokens)))
    return pieces


def masked_text(pieces: Sequence[Piece]) -> str:
    """The pieces in one line of text: ``USER: <image> x 16 what? [[ red</s>]]``."""
    shown = []
    for piece in pieces:
        match piece.kind:
            case "image":
                shown.append(f"{piece.text} x {piece.tokens} ")
            case "answer":
                shown.append(f"[[{piece.text}]]")
            case _:
                shown.append(piece.text)
    return "".join(shown)
