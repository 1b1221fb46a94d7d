"""Golden values of the evaluations' own code."""

from __future__ import annotations

import pytest

from adaptinf.scoring.boxes import box_in, overlap, pixels_of, share_of
from adaptinf.scoring.captions import bleu, character_bleu, cider, rouge_l
from adaptinf.scoring.choices import lenient_letter, mmbench_letter, mmmu_letter, scienceqa_letter
from adaptinf.scoring.open_answers import mmmu_open_right
from adaptinf.scoring.tokens import caption_tokens
from adaptinf.scoring.transcription import edit_distance, similarity
from adaptinf.scoring.vqa import agreement, direct_accuracy, m4c_accuracy, vqa_accuracy
from adaptinf.scoring.words import normalised, without_signs
from adaptinf.scoring.yes_no import Confusion, lenient_answer, mme_answer, pope_answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Red, bus.", "red bus"),
        ("Two dogs!", "2 dogs"),
        ("it's a man's hat", "it 's man 's hat"),
        ("dont know", "don't know"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("$5.00", "$5.00"),
        ("a/b", "b"),
        ("t-shirt", "t shirt"),
        ("U.S.A.", "usa"),
        ("None", "0"),
        ("An Apple a day", "apple day"),
        ("(left)", "left"),
        ("10:30 AM", "10:30 am"),
        ("e.g. this", "eg this"),
        ("isnt", "isn't"),
        ("Id've", "id've"),
        ("Im here", "im here"),
        ("5.", "5"),
        ("50%", "50%"),
        (
            "couldnt've couldn'tve yall'd've somebody'd",
            "couldn't've couldn't've y'all'd've somebodyd",
        ),
    ],
)
def test_normalised(text, expected):
    assert normalised(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1,000", "1000"), ("1, 000", "1 000"), ("a,b", "a b"), (".5", ".5"), ("4.a", "4a")],
)
def test_signs_alone(text, expected):
    assert without_signs(text) == expected


def test_no_more_than_32_periods_go():
    assert without_signs("a." * 40).count(".") == 8


def test_vqa_accuracy():
    for count, score in enumerate((0, 0.3, 0.6, 0.9, 1, 1)):
        people = ["cat"] * count + ["dog"] * (10 - count)
        assert agreement("cat", people) == pytest.approx(score)
    assert vqa_accuracy("Cat.", ["cat"] * 10) == 0.0
    assert vqa_accuracy("Cat.", ["cat"] * 9 + ["dog"]) == 1.0
    assert vqa_accuracy("2", ["two"] * 4 + ["2"] * 3 + ["3"] * 3) == 1.0
    assert m4c_accuracy("Cat.", ["cat"] * 10) == 1.0
    assert direct_accuracy("cat", ["cat"] * 2 + ["dog"] * 8) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "A dog's toy isn't on the couch, it's on the floor!",
            "a dog 's toy is n't on the couch it 's on the floor",
        ),
        (
            "Two people (one woman) eating hot-dogs at 5:30 p.m.",
            "two people -lrb- one woman -rrb- eating hot-dogs at 5:30 p.m.",
        ),
        (
            'The sign says "STOP" & costs $3.50; 50% off...',
            "the sign says stop & costs $ 3.50 50 % off",
        ),
        (
            "A black-and-white cat -- sitting on a TV/monitor",
            "a black-and-white cat sitting on a tv/monitor",
        ),
        (
            "it's a U.S. flag, e.g. red, white and blue",
            "it 's a u.s. flag e.g. red white and blue",
        ),
        ("He'll cannot gonna wanna go", "he 'll can not gon na wan na go"),
        ("A woman\u2019s hat \u2013 nice\u2026", "a woman 's hat nice"),
        ("Men's tie's colour #1 @home <b>", "men 's tie 's colour # 1 @home <b>"),
        ("Mr. Smith's 1/2 pizza   with   spaces", "mr. smith 's 1/2 pizza with spaces"),
    ],
)
def test_caption_tokens(text, expected):
    assert caption_tokens(text) == expected.split()


REFERENCES = [
    [
        "a man riding a wave on top of a surfboard",
        "a surfer rides a large wave in the ocean",
        "a man on a surfboard rides a wave",
    ],
    [
        "a dog sitting on a couch",
        "a brown dog rests on a sofa",
        "the dog is lying on a couch",
    ],
    [
        "two people eating hot dogs at a table",
        "a couple of people sitting at a table with food",
        "two people share a meal",
    ],
]
CAPTIONS = ["a man riding a wave on a surfboard", "a dog sitting on a couch", "a cat on a mat"]


def split(texts):
    return [text.split() for text in texts]


def test_captions_of_a_corpus():
    references = [split(texts) for texts in REFERENCES]
    captions = split(CAPTIONS)
    expected = [0.842105, 0.794719, 0.759001, 0.715681]
    assert bleu(captions, references) == pytest.approx(expected, abs=1e-6)
    found = cider(captions, references)
    assert found == pytest.approx([3.549334, 4.612004, 0], abs=1e-6)
    assert sum(found) / 3 == pytest.approx(2.720446, abs=1e-6)
    rouge = [rouge_l(c, r) for c, r in zip(captions, references, strict=True)]
    assert sum(rouge) / 3 == pytest.approx(0.707658, abs=1e-6)
    assert bleu(captions[:1], references[:1])[3] == pytest.approx(0.840896, abs=1e-6)
    assert cider(captions[:1], references[:1]) == [0.0]
    short = split(["a man", CAPTIONS[1]])
    assert bleu(short, references[:2]) == pytest.approx([0.472367] * 4, abs=1e-6)
    assert cider(short, references[:2]) == pytest.approx([0.713128, 4.412605], abs=1e-6)


def test_captions_from_text():
    references = [
        [
            "A man riding a wave on top of a surfboard.",
            "A surfer rides a large wave, in the ocean!",
        ],
        ["The dog's toy isn't on the couch.", "A dog - sitting on a couch"],
    ]
    captions = ["A man riding a wave on a surfboard.", "the dog's toy is on a couch"]
    tokens = [[caption_tokens(text) for text in texts] for texts in references]
    said = [caption_tokens(text) for text in captions]
    assert bleu(said, tokens)[3] == pytest.approx(0.645203, abs=1e-6)
    assert cider(said, tokens) == pytest.approx([3.393248, 4.056805], abs=1e-6)


def test_character_bleu():
    reference = "一只狗坐在沙发上"
    assert character_bleu(reference, reference) == pytest.approx(1.0)
    assert character_bleu("一只棕色的狗坐在沙发上。", reference) == pytest.approx(
        0.469247, abs=1e-6
    )
    assert character_bleu("狗", reference) == pytest.approx(0.000912, abs=1e-6)
    assert character_bleu("", reference) == 0
    english = character_bleu("a dog is sitting on a couch", "A dog sits on a couch.")
    assert english == pytest.approx(0.602329, abs=1e-6)


OPTIONS = ["red car", "blue bus", "green", "a dog"]


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("(B)", "B"),
        ("B.", "B"),
        ("The answer is B.", "B"),
        ("A or B", "B"),
        ("(A) because (C)", "C"),
        ("Answer: C", "C"),
        ("I think it is the blue bus, not anything else", "B"),
        ("A man is riding the B train today", "B"),
        ("The correct option is (D).", "D"),
        ("b", None),
        ("B) blue bus", None),
    ],
)
def test_mmmu_letters(text, letter):
    assert mmmu_letter(text, OPTIONS) == letter


@pytest.mark.parametrize(
    ("text", "gold", "right"),
    [
        ("1,234", "1234", True),
        ("about 5%", "5%", True),
        ("The final answer is 12.345", "12.35", True),
        ("7", "7.0", True),
        ("8", "7.0", False),
        ("It is blue", "red", False),
    ],
)
def test_mmmu_open_answers(text, gold, right):
    assert mmmu_open_right(text, gold) is right


def test_scienceqa_letters():
    found = {
        "B": "B",
        "B. blue": "B",
        "The answer is B.": "B",
        "b": None,
        "B) blue": None,
        "": None,
    }
    assert {text: scienceqa_letter(text) for text in found} == found
    assert scienceqa_letter("The answer is A. The answer is B.") is None


def test_mmbench_letters():
    options = dict(zip("ABCD", OPTIONS, strict=True))
    found = {"B": "B", "(B).": "B", "blue bus": "B", "It is a dog": None, "A B": None, "E": None}
    found |= {"a dog": "D", "red car or blue bus": None, "x" * 200 + " green": None}
    # "It is a dog" says the option's words, and so names it.
    found["It is a dog"] = "D"
    assert {text: mmbench_letter(text, options) for text in found} == found


def test_lenient_letters():
    found = {"b": "B", "B) blue bus": "B", "The answer is b": "B", "Blue bus": "B", "(C)": "C"}
    found |= {"no idea": None, "": None}
    assert {text: lenient_letter(text, OPTIONS) for text in found} == found


def test_yes_and_no():
    pope = {"No, it is not.": "no", "Yes": "yes", "": "yes", "NO": "yes", "There is not one": "no"}
    assert {text: pope_answer(text) for text in pope} == pope
    mme = {
        "Yes.": "yes",
        "n": "no",
        "No idea": "no",
        "maybe yes": "other",
        "": "other",
        "yes, no": "yes",
    }
    assert {text: mme_answer(text) for text in mme} == mme
    lenient = {"NO!": "no", "Well, yes": "yes", "yes and no": "other", "": "other"}
    assert {text: lenient_answer(text) for text in lenient} == lenient
    said = Confusion.of(["yes", "yes", "no", "no"], ["yes", "no", "yes", "no"])
    assert (said.accuracy, said.precision, said.recall, said.f1) == (0.5, 0.5, 0.5, 0.5)
    none = Confusion.of(["no"], ["no"])
    assert (none.precision, none.recall, none.f1, none.yes_share) == (0, 0, 0, 0)


def test_boxes():
    assert overlap((0, 0, 10, 10), (0, 0, 10, 20)) == 0.5
    assert overlap((0, 0, 10, 10), (0, 0, 10, 20), edge=1) == pytest.approx(0.52381, abs=1e-5)
    assert overlap((0, 0, 100, 100), (50, 0, 150, 100)) == pytest.approx(1 / 3)
    wide = overlap((0, 0, 100, 100), (50, 0, 150, 100), edge=1)
    assert wide == pytest.approx(0.33775, abs=1e-5)
    assert overlap((0, 0, 1, 1), (2, 2, 3, 3)) == overlap((0, 0, 0, 0), (0, 0, 0, 0)) == 0
    box, size = (100, 120, 300, 360), (640, 480)
    assert share_of(box, *size) == pytest.approx((0.15625, 0.25, 0.46875, 0.75))
    padded = share_of(box, *size, "padded")
    assert [round(share, 2) for share in padded] == [0.16, 0.31, 0.47, 0.69]
    for frame in ("original", "padded"):
        assert pixels_of(share_of(box, *size, frame), *size, frame) == pytest.approx(box)
    assert box_in("it is [0.1, .25,0.3 , 1] there") == (0.1, 0.25, 0.3, 1)
    assert box_in("[0.1, 0.2, 0.3]") is box_in("") is None


def test_transcription():
    assert edit_distance("kitten", "sitting") == 3
    assert similarity("", "") == 1
    assert similarity("abc", "") == 0
    assert similarity("exit", "exlt") == 0.75
