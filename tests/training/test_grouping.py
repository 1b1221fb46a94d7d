"""Rows of like lengths share a batch."""

from __future__ import annotations

from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest

from adaptinf.data.sample import Sample
from adaptinf.training.grouping import grouped_order
from adaptinf.training.watched import WatchedTrainer
from tests.training.test_trainer import (  # noqa: F401, two are fixtures
    Killed,
    collator,
    digests,
    run,
    samples,
)


def test_batches_are_of_like_lengths_in_mixed_order() -> None:
    # Two kinds of rows, 1,000 short and 1,000 long ones, and one that is the longest of all.
    lengths = [10, 800] * 1000 + [801]
    order = grouped_order(lengths, 16, seed=1)
    assert sorted(order) == list(range(2001))
    drawn = [lengths[row] for row in order]
    batches = [drawn[start : start + 16] for start in range(0, 2001, 16)]
    assert batches[0][0] == 801
    assert len(batches[-1]) == 2001 % 16
    # One batch of each pool of 31 batches has both kinds; there are five pools.
    mixed = [batch for batch in batches if min(batch) == 10 and max(batch) >= 800]
    assert len(mixed) <= 5
    changes = sum(one[0] != other[0] for one, other in pairwise(batches))
    assert changes > 40  # half of 125; in sorted pools there are ten
    assert grouped_order(lengths, 16, seed=1) == order
    assert grouped_order(lengths, 16, seed=2) != order


@pytest.mark.parametrize(("rows", "batch"), [(1, 4), (3, 4), (4, 4), (5, 4)])
def test_few_rows_are_all_there(rows: int, batch: int) -> None:
    assert sorted(grouped_order([7] * rows, batch, seed=0)) == list(range(rows))


def test_grouped_rows_end_with_the_same_bytes_after_a_kill(
    tmp_path: Path,
    collator: Any,  # noqa: F811
    samples: list[Sample],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []
    whole = WatchedTrainer.training_step

    def step(self: WatchedTrainer, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        seen.extend(inputs["uids"])
        return whole(self, model, inputs, *rest, **named)

    monkeypatch.setattr(WatchedTrainer, "training_step", step)
    lengths = {sample.uid: 10 + 100 * (i % 2) for i, sample in enumerate(samples)}
    given = {"lengths": lengths}
    run(tmp_path / "a", collator, samples, more=given)
    tokens = [lengths[sample.uid] for sample in samples]
    epochs = [[samples[i].uid for i in grouped_order(tokens, 4, 5 + epoch)] for epoch in range(3)]
    assert seen == list(chain(*epochs))
    with pytest.raises(Killed):
        run(tmp_path / "c", collator, samples, more=given, kill_after=20, save_steps=4)
    seen.clear()
    # Goes on in the middle of the second epoch, whose order no earlier random number decides.
    run(tmp_path / "c", collator, samples, more=given, save_steps=4)
    assert seen == list(chain(*epochs))[16 - 2 :]
    assert digests(tmp_path / "c") == digests(tmp_path / "a")
