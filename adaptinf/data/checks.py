"""What makes a row usable: from a reader's raw row to a sample, or to the reason why not."""

from __future__ import annotations

from collections.abc import Sequence

from adaptinf.data import reasons
from adaptinf.data.rows import RawRow, RowProblem, printable
from adaptinf.data.sample import IMAGE_MARK, Sample, Turn, sample_digest, sample_uid
from adaptinf.data.source import Source


def check_turns(turns: Sequence[Turn], n_images: int) -> None:
    """Raises ``RowProblem`` unless the turns are a conversation that can be trained on.

    That is: user and assistant alternate, the user begins, the assistant ends, no answer is blank,
    and there are as many image marks as images.
    """
    if not turns:
        raise RowProblem(reasons.NO_TURNS)
    if turns[0].role != "user":
        raise RowProblem(reasons.FIRST_ROLE, turns[0].role)
    for i, turn in enumerate(turns):
        if (turn.role == "user") != (i % 2 == 0):
            raise RowProblem(reasons.ROLES_NOT_ALTERNATING, f"turn {i}")
        if turn.role == "assistant" and not turn.text.replace(IMAGE_MARK, "").strip():
            raise RowProblem(reasons.EMPTY_ANSWER, f"turn {i}")
    if turns[-1].role != "assistant":
        raise RowProblem(reasons.LAST_ROLE)
    marks = sum(turn.text.count(IMAGE_MARK) for turn in turns)
    if marks != n_images:
        raise RowProblem(reasons.IMAGE_MARK_MISMATCH, f"{marks} marks, {n_images} images")


def make_sample(raw: RawRow, source: Source, image_digests: Sequence[str]) -> Sample:
    """The sample of a checked row; its digest covers the turns and the images' bytes.

    Raises ``RowProblem`` ("malformed-row") for text that is not valid Unicode.
    """
    try:
        digest = sample_digest(raw.turns, image_digests)
    except UnicodeEncodeError as error:
        raise RowProblem(reasons.MALFORMED_ROW, "text is not valid Unicode") from error
    return Sample(
        uid=sample_uid(source.name, digest),
        digest=digest,
        source_id=printable(raw.source_id),
        dataset=source.name,
        licence=raw.licence or source.licence_of(raw.part),
        task=raw.task,
        skill=raw.skill,
        images=raw.images,
        turns=raw.turns,
        source=raw.source or source.source_of(raw.part),
    )
