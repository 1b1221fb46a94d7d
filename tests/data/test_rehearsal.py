"""Questions for rehearsal: whose they are, what is shown with them, and of what there is none."""

from __future__ import annotations

from collections import Counter

import pytest

from adaptinf.data.pool import PoolRow, PoolTable
from adaptinf.data.rehearsal import answered, questions_for
from adaptinf.data.sample import IMAGE_MARK, Sample, Turn, sample_digest


def sample(number: int, dataset: str, skill: str | None, text: str, images: int = 0) -> Sample:
    turns = (Turn("user", IMAGE_MARK * images + text), Turn("assistant", f"old {number}"))
    names = tuple(f"{dataset}/{number}-{k}.png" for k in range(images))
    return Sample(f"{dataset}:{number}", "", "", dataset, "cc0", None, skill, names, turns)


def pool(*, new_images: int = 1, old_images: int = 1) -> PoolTable:
    """30 rows of a, 10 of skill x and 20 of y of b, and 6 new ones of c."""
    rows = [PoolRow(sample(n, "a", None, f"a{n}", old_images), 1) for n in range(30)]
    rows += [
        PoolRow(sample(n, "b", "x" if n < 10 else "y", f"b{n}", 2 * old_images), 2)
        for n in range(30)
    ]
    rows += [PoolRow(sample(n, "c", "z", f"c{n}", new_images), 3) for n in range(6)]
    return PoolTable.from_rows(rows)


def test_datasets_have_equal_parts_and_in_them_skills() -> None:
    asked = questions_for(pool(), 3, 41, seed=0)
    assert Counter((row.source, row.skill) for row in asked) == {
        ("rehearsed/a", None): 21,
        ("rehearsed/b", "x"): 10,
        ("rehearsed/b", "y"): 10,
    }
    assert len({row.uid for row in asked}) == 41
    assert len({row.source_id for row in asked}) == 41  # no row twice while there are others


def test_a_row_is_asked_again_once_all_of_its_skill_were() -> None:
    asked = questions_for(pool(), 3, 100, seed=0)
    times = Counter(row.source_id for row in asked if row.skill == "x")
    assert sorted(times.values()) == [2] * 5 + [3] * 5


def test_old_questions_are_asked_about_new_images_alone() -> None:
    table = pool(new_images=2)
    texts = {row.uid: row.turns[0].text for row in table.samples(range(60))}
    new = [row.images for row in table.samples(range(60, 66))]
    asked = questions_for(table, 3, 40, seed=1)
    for row in asked:
        [turn] = row.turns
        assert turn == Turn("user", texts[row.source_id])
        assert len(row.images) == turn.text.count(IMAGE_MARK)
        assert row.dataset == "c"
        assert row.licence is None
    shown = Counter(image for row in asked for image in row.images)
    assert set(shown) == {image for images in new for image in images}
    assert max(shown.values()) - min(shown.values()) <= 1  # each as often as the others


def test_without_new_images_only_questions_without_one_are_asked() -> None:
    assert questions_for(pool(new_images=0), 3, 10, seed=0) == []
    asked = questions_for(pool(new_images=0, old_images=0), 3, 10, seed=0)
    assert {(row.dataset, row.images) for row in asked} == {("a", ()), ("b", ())}


@pytest.mark.parametrize("arrived", [1, 0])
def test_without_older_rows_nothing_is_asked(arrived: int) -> None:
    assert questions_for(pool(), arrived, 10, seed=0) == []


def test_the_seed_alone_decides() -> None:
    first, again, other = (questions_for(pool(), 3, 20, seed=seed) for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_an_answer_makes_a_row() -> None:
    [question, *_] = questions_for(pool(), 3, 1, seed=0)
    row = answered(question, "yes", ["beef"])
    assert row.turns == (*question.turns, Turn("assistant", "yes"))
    assert row.digest == sample_digest(row.turns, ["beef"])
    assert (row.uid, row.images) == (question.uid, question.images)
