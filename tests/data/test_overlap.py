"""What rows share, against an oracle that compares everything with everything."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from adaptinf.data import overlap
from adaptinf.data.looks import ALIKE, alike, look_of
from adaptinf.data.overlap import Prints, Shared, Texts, image_key, sentence_hashes, shared


def photo(seed: int) -> Image.Image:
    """A picture with large shapes and fine noise."""
    draw = np.random.default_rng(seed)
    shapes = np.clip(128 + 60 * draw.normal(size=(9, 12, 3)), 0, 255).astype(np.uint8)
    large = Image.fromarray(shapes).resize((160, 120), Image.Resampling.BICUBIC)
    noisy = np.asarray(large) + draw.normal(0, 8, (120, 160, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def test_a_copy_looks_the_same_and_another_picture_does_not():
    looks = []
    for seed in range(20):
        image, buffer = photo(seed), io.BytesIO()
        image.resize((120, 90)).save(buffer, "JPEG", quality=80)
        look = look_of(image)
        copy = look_of(Image.open(buffer))
        assert (look ^ copy).bit_count() <= ALIKE
        looks.append(look)
    apart = [(a ^ b).bit_count() for i, a in enumerate(looks) for b in looks[:i]]
    assert min(apart) > 3 * ALIKE
    assert look_of(Image.new("RGB", (40, 40), "red")) is None


@pytest.mark.parametrize("seed", range(5))
def test_alike_is_what_comparing_all_finds(seed):
    draw = np.random.default_rng(seed)
    others = draw.integers(0, 2**64, 60, dtype=np.uint64)
    ours = []
    for flips in [*range(8)] * 6:
        look = int(draw.choice(others))
        for bit in draw.choice(64, flips, replace=False):
            look ^= 1 << int(bit)
        ours.append(look)
    ours = np.array([*ours, *draw.integers(0, 2**64, 20, dtype=np.uint64)], dtype=np.uint64)
    expected = []
    for look in ours:
        near = sorted((int(look ^ other).bit_count(), int(other)) for other in others)
        expected.append(near[0][1] if near[0][0] <= ALIKE else int(look))
    assert alike(ours, others).tolist() == expected
    assert alike(ours, np.array([], dtype=np.uint64)).tolist() == ours.tolist()


def test_sentences_are_words_alone():
    (one,) = sentence_hashes("<image>\nWhat colour is the CUP?")
    assert sentence_hashes("Look. What colour -- is the cup!!\nYes no.") == [one]
    assert one[1] is False
    ((_, long),) = sentence_hashes("one two three four five six seven eight")
    assert long
    assert sentence_hashes("too short") == []
    assert len(sentence_hashes("3.5 metres is the height. It stands in Rome.")) == 2


CUP, PLATE = image_key("ab" * 32, 7), image_key("cd" * 32, None)


def rows(*texts: tuple[str, tuple[int, ...]]) -> Prints:
    digests = (f"{number:016x}" for number in range(1, len(texts) + 1))
    return Prints.of(
        Texts(digest, [text], images) for digest, (text, images) in zip(digests, texts, strict=True)
    )


def test_pictures_sentences_and_both():
    theirs = rows(
        ("<image>\nWhat is left of the cup?", (CUP,)),
        ("<image>\nWho broke this plate?", (PLATE,)),
        ("It was a dark and stormy night in May.", ()),
    )
    ours = rows(
        ("Answer briefly. What is left of the cup?", (CUP ^ 0b11,)),
        ("What is left of the cup?", (PLATE,)),
        ("Who was it?", (CUP,)),
        ("It was a dark and stormy night, in May!", ()),
        ("Nothing of the kind.", ()),
    )
    found = shared(ours, theirs)
    assert found == Shared(rows=5, exact=3, images=3, near=1, texts=1)
    assert shared(ours, rows()) == Shared(5, 0, 0, 0, 0)
    assert shared(rows(), theirs) == Shared(0, 0, 0, 0, 0)


def test_templates_say_nothing(monkeypatch):
    monkeypatch.setattr(overlap, "_RARE_ROWS", 2)
    many = rows(*(("Is there a cat here?", (CUP,)) for _ in range(3)))
    few = rows(*(("Is there a cat here?", (CUP,)) for _ in range(2)))
    asked = Prints.of([Texts("", ["Is there a cat here?"], [CUP])])
    assert shared(asked, many) == Shared(1, 0, 1, 0, 0)
    assert shared(asked, few) == Shared(1, 0, 1, 1, 0)


@pytest.mark.parametrize("seed", range(4))
def test_shared_is_what_comparing_all_finds(seed):
    draw = np.random.default_rng(seed)
    words = ["one cup is red", "two cups are blue", "a plate was there", "who broke the glass now"]
    words += ["a b c d e f g h i", "p q r s t u v w x"]
    keys = [int(key) for key in draw.integers(0, 2**63, 4)]

    def some() -> list[Texts]:
        return [
            Texts(
                f"{int(draw.integers(1, 30)):016x}",
                [". ".join(draw.choice(words, draw.integers(0, 3)))],
                [int(k) for k in draw.choice(keys, draw.integers(0, 3))],
            )
            for _ in range(12)
        ]

    ours, theirs = some(), some()

    def sentences(row: Texts) -> set[tuple[int, bool]]:
        return {pair for text in row.texts for pair in sentence_hashes(text)}

    def any_of(test) -> int:
        return sum(any(test(row, other) for other in theirs) for row in ours)

    expected = Shared(
        rows=12,
        exact=any_of(lambda a, b: a.digest == b.digest),
        images=any_of(lambda a, b: set(a.images) & set(b.images)),
        near=any_of(lambda a, b: set(a.images) & set(b.images) and sentences(a) & sentences(b)),
        texts=any_of(lambda a, b: any(long for _, long in sentences(a) & sentences(b))),
    )
    assert shared(Prints.of(ours), Prints.of(theirs)) == expected
