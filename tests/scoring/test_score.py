"""``adaptinf score``: files of answers as they come, and the same numbers as other tools."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nltk.metrics import edit_distance as nltk_distance
from nltk.translate.bleu_score import sentence_bleu
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from sacrebleu.metrics import BLEU as CorpusBleu
from sklearn.metrics import f1_score, precision_score, recall_score
from typer.testing import CliRunner

from adaptinf.errors import UserError
from adaptinf.scoring.captions import bleu, cider, rouge_l
from adaptinf.scoring.files import read_answers
from adaptinf.scoring.result import find_benchmark, score_files
from adaptinf.scoring.transcription import edit_distance
from adaptinf.scoring.yes_no import Confusion
from stages.cli.guard import guarded, umbrella
from stages.cli.score import score_answers

WORDS = ["a", "the", "dog", "cat", "sits", "on", "red", "blue", "mat", "wave", "man", "rides"]


@pytest.mark.parametrize("seed", range(5))
def test_captions_as_the_reference_has_them(seed):
    draw = random.Random(seed)

    def caption() -> list[str]:
        return draw.choices(WORDS, k=draw.randint(1, 12))

    said = [caption() for _ in range(8)]
    others = [[caption() for _ in range(draw.randint(1, 5))] for _ in range(8)]
    gold = {i: [" ".join(text) for text in texts] for i, texts in enumerate(others)}
    found = {i: [" ".join(text)] for i, text in enumerate(said)}
    expected, _ = Bleu(4).compute_score(gold, found, verbose=0)
    assert bleu(said, others) == pytest.approx(expected, abs=1e-9)
    _, each = Cider().compute_score(gold, found)
    assert cider(said, others) == pytest.approx(list(each), abs=1e-9)
    _, each = Rouge().compute_score(gold, found)
    rouge = [rouge_l(text, texts) for text, texts in zip(said, others, strict=True)]
    assert rouge == pytest.approx(list(each), abs=1e-9)


@pytest.mark.parametrize("order", range(1, 5))
@pytest.mark.parametrize("seed", range(5))
def test_bleu_of_several_references_as_sacrebleu_has_it(seed, order):
    draw = random.Random(seed)
    words = ["a", "dog", "red", "sits", "on", "the"]
    others = [
        [draw.choices(words, k=draw.randint(4, 12)) for _ in range(draw.randint(1, 4))]
        for _ in range(20)
    ]
    said = [[*draw.choice(texts)[:9], draw.choice(words)] for texts in others]
    streams = [
        [" ".join(texts[number]) if number < len(texts) else None for texts in others]
        for number in range(4)
    ]
    metric = CorpusBleu(tokenize="none", smooth_method="none", max_ngram_order=order)
    expected = metric.corpus_score([" ".join(text) for text in said], streams).score
    assert 0 < expected < 100
    assert 100 * bleu(said, others)[order - 1] == pytest.approx(expected, abs=1e-6)


def test_bleu_of_one_reference_as_nltk_has_it():
    said, other = (
        ["the", "dog", "sits", "on", "a", "red", "mat"],
        ["the", "dog", "sits", "on", "the", "red", "mat", "now"],
    )
    assert bleu([said], [[other]])[3] == pytest.approx(sentence_bleu([other], said), abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_yes_and_no_as_scikit_learn_has_them(seed):
    draw = np.random.default_rng(seed)
    said, labels = (draw.choice(["yes", "no"], 50).tolist() for _ in range(2))
    found = Confusion.of(said, labels)
    for name, metric in (
        ("f1", f1_score),
        ("precision", precision_score),
        ("recall", recall_score),
    ):
        assert getattr(found, name) == pytest.approx(metric(labels, said, pos_label="yes"))


@pytest.mark.parametrize("seed", range(5))
def test_edit_distance_as_nltk_has_it(seed):
    draw = random.Random(seed)
    for _ in range(20):
        one, other = ("".join(draw.choices("abcé", k=draw.randint(0, 12))) for _ in range(2))
        assert edit_distance(one, other) == nltk_distance(one, other)


@pytest.fixture
def labels(tmp_path) -> Path:
    rows = {str(n): {"question": "Q?", "imageId": "7", "answer": "red"} for n in range(1, 7)}
    file = tmp_path / "testdev_balanced_questions.json"
    file.write_text(json.dumps(rows))
    return file


def answer(ident: object, text: object) -> str:
    return json.dumps({"question_id": ident, "text": text})


@pytest.fixture
def answers(tmp_path) -> Path:
    rows = [
        answer("2", "red"),
        answer(1, " red \n"),
        answer("3", "blue"),
        answer("3", "blue"),
        answer("4", "red"),
        answer("4", "blue"),
        answer("99", "red"),
        "{broken",
        "[]",
        answer("5", None),
        answer(True, "red"),
        "",
    ]
    file = tmp_path / "answers.jsonl"
    file.write_text("\n".join(rows))
    return file


def test_every_line_and_every_question_is_accounted_for(labels, answers):
    found = score_files("gqa", answers, labels)
    outcomes = found.outcomes
    assert found.totals["accuracy"] == 50  # of six questions 1, 2 and 4 are right
    assert (outcomes.questions, outcomes.answered, outcomes.missing) == (6, 4, 2)
    assert (outcomes.extra, outcomes.repeated, outcomes.contradicted) == (1, 1, 1)
    assert (outcomes.malformed, outcomes.other_order) == (4, True)
    assert found.examples["missing"] == ["5", "6"]
    assert found.examples["malformed"] == ["line 8", "line 9", "line 10", "line 11"]
    used = len(read_answers(answers).texts) - outcomes.extra
    assert used == outcomes.answered


@pytest.fixture
def invoke():
    app = umbrella("test")
    app.command("score")(guarded(score_answers, ""))

    def call(*arguments: object):
        return CliRunner().invoke(app, ["score", *map(str, arguments)])

    return call


def test_the_command_tells_numbers_and_outcomes(invoke, labels, answers):
    arguments = ["--benchmark", "gqa", "--answers", answers, "--labels", labels]
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    for line in (
        "gqa by the rules of llava",
        "4 of 6 questions answered",
        "2 questions without an answer, counted wrong: 5, 6",
        "1 answers given twice unlike, the first counts: 4",
        "4 lines that hold no answer, left out: line 8",
        "mean of the questions: 50.00, 95 % interval",
    ):
        assert line in result.output
    told = json.loads(invoke(*arguments, "--json", "--rules", "lmms").output)
    assert (told["rules"], told["totals"]["accuracy"]) == ("lmms", 50)


def test_mistakes_are_told(invoke, labels, answers, tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    other = tmp_path / "other.jsonl"
    other.write_text(answer("x", "red"))
    given = {"--benchmark": "gqa", "--answers": answers, "--labels": labels}
    for change, message in (
        ({"--benchmark": "gqq"}, "did you mean 'gqa'"),
        ({"--rules": "theirs"}, "gqa has llava and lmms"),
        ({"--labels": tmp_path / "gone"}, "no such labels"),
        ({"--answers": tmp_path / "gone"}, "cannot be read"),
        ({"--answers": empty}, "no answers here"),
        ({"--answers": other}, "ids are like 1, 2"),
    ):
        result = invoke(*(part for pair in {**given, **change}.items() for part in pair))
        assert result.exit_code == 2
        assert message in result.output
    with pytest.raises(UserError):
        find_benchmark("gqa", "theirs")


def test_scoring_needs_no_torch(labels, answers):
    code = (
        "import sys\nfrom pathlib import Path\nfrom adaptinf.scoring.result import score_files\n"
        f"score_files('gqa', Path({str(answers)!r}), Path({str(labels)!r}))\n"
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
