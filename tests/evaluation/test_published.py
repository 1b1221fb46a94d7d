"""Published benchmarks as a run asks them: questions, readable answers, marks by hand."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from adaptinf.data.names import DATASETS
from adaptinf.errors import UserError
from adaptinf.evaluation.benchmarks import Shelf, find_benchmarks, require_images, taught
from adaptinf.evaluation.published import NEW_TOKENS, TAUGHT_BY
from adaptinf.scoring.benchmarks import BENCHMARKS
from adaptinf.scoring.benchmarks.regions import Region
from adaptinf.scoring.items import Item
from tests.evaluation.label_files import (
    write_captions,
    write_gqa,
    write_images,
    write_mmbench,
    write_pope,
)


@pytest.fixture
def shelf(tmp_path) -> Shelf:
    write_pope(tmp_path, {"random": ["yes", "no"]})
    write_captions(tmp_path, [["a dog sits", "the dog"], ["a red mat"]])
    write_mmbench(tmp_path, 2)
    return Shelf(tmp_path, tmp_path / "pictures", {"pope": "lmms"})


@pytest.mark.parametrize(
    ("right", "answer"),
    [
        ("red", "red"),
        (["teal", "blue", "cyan", "blue"], "blue"),
        ([3, 4], "3"),
        ([], ""),
        (None, ""),
        ("E", "E"),
        (Region((10.0, 20.0, 30.0, 40.0), 100, 200), "[0.10, 0.10, 0.30, 0.20]"),
    ],
)
def test_right_answers_are_readable(right, answer):
    assert Item("1", "q", (), right).answer == answer


def test_a_right_option_is_readable():
    item = Item("1", "q", (), "B", options=("cat", "bus"))
    assert item.answer == "B. bus"
    assert replace(item, right="E").answer == "E"


def test_marks_are_single_scores_and_the_official_totals(shelf):
    pope = shelf.benchmark("pope")
    first, second = questions = pope.items()
    assert (first.question_id, first.images, first.answer) == (
        "random/0",
        ("random0.png",),
        "yes",
    )
    assert pope.items(limit=1) == [first]
    assert (pope.rules, pope.metric, pope.kind) == ("lmms", "lmms rules", "accuracy")
    marks = pope.mark(questions, ["Yes", "No, it is not"])
    assert marks.scores == [1, 0]
    # What cannot be read counts as yes here: of two such one is right, and no yes is missed.
    assert marks.totals["random accuracy"] == 50
    assert marks.totals["f1"] == pytest.approx(200 / 3)
    assert (marks.official.rules, marks.official.outcomes.unread) == ("lmms", 1)
    alone = pope.mark([second], ["no"])
    assert alone.scores == [1]
    assert alone.official.outcomes.questions == 1


def test_a_caption_is_worth_its_likeness_and_no_accuracy(shelf):
    captions = shelf.benchmark("coco_captions")
    marks = captions.mark(captions.items(), ["a dog sits", "blue"])
    assert marks.scores == [1, 0]
    assert next(iter(marks.totals)) == "CIDEr"
    assert captions.kind == "ROUGE-L"
    assert BENCHMARKS["chinese_captions"].kind == "BLEU-4 over characters"


def test_images_inside_label_files_are_written_once(shelf, tmp_path):
    mmbench = shelf.benchmark("mmbench")
    with pytest.raises(UserError, match="4 images of mmbench are missing"):
        require_images(mmbench, mmbench.items())
    mmbench.prepare()
    require_images(mmbench, mmbench.items())
    file = tmp_path / "pictures/mmbench/1"
    stamp = file.stat().st_mtime_ns
    mmbench.prepare()
    assert file.stat().st_mtime_ns == stamp
    assert file.read_bytes() == (tmp_path / "pictures/mmbench/1000001").read_bytes()


def test_names_from_label_files_lead_nowhere_else(shelf, tmp_path):
    rows = [{"question_id": 1, "image": "../../secret.png", "text": "Q?", "label": "yes"}]
    (tmp_path / "pope/coco_pope_random.json").write_text(json.dumps(rows[0]) + "\n")
    (tmp_path / "secret.png").write_bytes(b"x")
    pope = shelf.benchmark("pope")
    with pytest.raises(UserError, match=r"1 images of pope are missing.*secret\.png"):
        require_images(pope, pope.items())


def test_own_and_published_stand_in_one_list(shelf, tmp_path):
    own = tmp_path / "benchmarks"
    own.mkdir()
    for name in ("cups", "pope"):
        text = f"name: {name}\nquestions: q.jsonl\nmetric: exact\n"
        (own / f"{name}.yaml").write_text(text)
    found = find_benchmarks(own, ["mmbench", "cups"], shelf=shelf)
    assert [benchmark.name for benchmark in found] == ["mmbench", "cups"]
    assert [bool(benchmark.files) for benchmark in found] == [False, True]
    # A file of that name is one's own benchmark, and was put there on purpose.
    (pope,) = find_benchmarks(own, ["pope"], shelf=shelf)
    assert pope.metric == "exact"
    assert [b.name for b in find_benchmarks(own, "all", shelf=shelf)] == ["cups", "pope"]
    with pytest.raises(UserError, match=r"no labels of gqa;.*--root \S+ gqa"):
        find_benchmarks(own, ["gqa"], shelf=shelf)
    with pytest.raises(UserError, match="did you mean 'coco_captions'"):
        find_benchmarks(own, ["coco_caption"], shelf=shelf)
    with pytest.raises(UserError, match="pope has llava and lmms"):
        Shelf(tmp_path, tmp_path, {"pope": "theirs"}).benchmark("pope")


def test_parts_of_a_folder_are_benchmarks_of_their_own(tmp_path):
    folder = tmp_path / "targets"
    write_images(folder / "images", ["1.png"])
    write_images(folder / "digits" / "images", ["2.png"])
    for file, image in (("vsr.jsonl", "1.png"), ("digits/mnist.jsonl", "2.png")):
        row = {"unique_id": "1", "image_path": image, "prompt": "Is it so?", "target": "yes"}
        (folder / file).write_text(json.dumps(row) + "\n")
    shelf = Shelf(tmp_path, tmp_path / "pictures")
    found = find_benchmarks(tmp_path / "none", ["targets-vsr", "targets-digits"], shelf=shelf)
    assert [(one.name, one.skill, one.max_new_tokens) for one in found] == [
        ("targets-vsr", "targets-vsr", 1024),
        ("targets-digits", "targets-digits", 1024),
    ]
    for one in found:
        require_images(one, one.items())
        assert one.mark(one.items(), ["Yes."]).scores == [1.0]
    for part in ("../targets", "", "mnist", "."):
        with pytest.raises(UserError, match=f"no labels of targets-{re.escape(part)}"):
            shelf.benchmark(f"targets-{part}")
    (folder / "vsr.json").write_text("[]")
    with pytest.raises(UserError, match=r"one thing is called vsr.*vsr\.json, vsr\.jsonl"):
        shelf.benchmark("targets-vsr")


def test_skills_and_teachers_are_those_of_the_recipe(tmp_path, shelf):
    write_gqa(tmp_path, ["red"])
    found = find_benchmarks(tmp_path / "none", ["gqa", "pope"], shelf=shelf)
    assert [b.taught_by for b in found] == [("llava", "m3it", "vision_flan"), ()]
    gqa, pope = taught(found, {"gqa": "reasoning"}, {"pope": ["mine"], "gqa": []})
    assert (gqa.skill, gqa.taught_by, gqa.rules) == ("reasoning", (), "llava")
    assert (pope.skill, pope.taught_by) == ("pope", ("mine",))
    with pytest.raises(UserError, match=r"evaluate\.skills.*did you mean 'pope'"):
        taught(found, {"popes": "x"}, {})


def test_tables_speak_of_what_there_is():
    assert set(TAUGHT_BY) | set(NEW_TOKENS) <= set(BENCHMARKS)
    assert {name for names in TAUGHT_BY.values() for name in names} <= set(DATASETS)


def test_every_published_benchmark_says_what_its_scores_are():
    kinds = {name for name, one in BENCHMARKS.items() if one.kind != "accuracy"}
    assert kinds == {"coco_captions", "chinese_captions"}


def test_label_files_are_read_where_the_links_lead(shelf, tmp_path):
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "pope").symlink_to(tmp_path / "pope")
    pope = Shelf(linked, Path("unused")).benchmark("pope")
    require_images(pope, pope.items())
