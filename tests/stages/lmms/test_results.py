"""What lmms-eval 0.7.3 wrote, as it was (``given``: a tiny LLaVA on small tasks), and spoilt."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adaptinf.errors import UserError
from stages.lmms.results import TaskResult, read_results

GIVEN = Path(__file__).with_name("given")


def one(task: str, out: Path = GIVEN / "several") -> TaskResult:
    (result,) = read_results(out, task)
    return result


def test_a_mean_of_shares_is_in_percent() -> None:
    found = one("captions")
    assert (found.metric, found.score, found.stderr, found.n) == ("w_share", 0.9375, None, 4)
    assert found.shares == [100, 75, 100, 100]
    assert found.metrics == {"w_share": (0.9375, None), "w_points": (77, None)}
    first, second, *_ = found.items
    assert (first.question_id, first.prompt) == ("0", "List every object in the image.")
    assert second.text.split(", ")[2] == "a red cross bottom left"
    assert second.answer.split(", ")[2] == "a yellow cross bottom left"


def test_a_sum_is_not(tmp_path: Path) -> None:
    found = one("points")
    assert (found.metric, found.score, found.shares) == ("w_points", 77, None)
    assert [item.score for item in found.items] == [28, 21, 7, 21]
    assert list(found.metrics) == ["w_points"]  # the other one is an empty list here


def test_the_first_metric_of_the_task_is_its_headline() -> None:
    found = one("small_pope")
    assert (found.metric, found.score, found.n) == ("pope_accuracy", 0, 4)
    assert found.metrics["pope_yes_ratio"] == (0.25, None)
    assert found.items[0].score == 0  # out of an object that holds more than the score
    assert one("small_mme").metric == "mme_perception_score"


def test_a_group_without_a_number_gives_its_tasks() -> None:
    found = read_results(GIVEN / "several", "world")
    assert [(each.name, each.score) for each in found] == [("colours", 0.25), ("shapes", 0)]


def test_a_group_with_a_number_is_one_result() -> None:
    found = one("world_mean", GIVEN / "mean")
    assert (found.score, found.n, found.shares) == (0.125, 8, [0, 0, 0, 100, 0, 0, 0, 0])
    assert [item.question_id for item in found.items][3:5] == ["colours/3", "shapes/0"]


Change = Callable[[Path, dict[str, Any], list[dict[str, Any]]], None]


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[Change], Path]:
    """The captions alone, with whatever a function does to the folder, results and samples."""

    def change(edit: Change) -> Path:
        out = tmp_path / "out"
        shutil.copytree(GIVEN / "several", out)
        (results,) = out.rglob("*_results.json")
        (samples,) = out.rglob("*_samples_captions.jsonl")
        content = json.loads(results.read_text())
        rows = [json.loads(line) for line in samples.read_text().splitlines()]
        samples.unlink()
        edit(results.parent, content, rows)
        if rows:
            samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
        results.write_text(json.dumps(content))
        return out

    return change


def entry(content: dict[str, Any]) -> dict[str, Any]:
    return content["results"]["captions"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda _, c, r: c["higher_is_better"]["captions"].update(w_share=False),
        lambda _, c, r: entry(c).update({"w_share,none": 0.91}),
        lambda _, c, r: r[0]["w_share"].update(score=1.5) or r[1]["w_share"].update(score=0.25),
        lambda _, c, r: r[0]["w_share"].pop("score"),
        lambda _, c, r: r[0]["w_share"].update(score="1.0"),
    ],
    ids=["less is better", "not their mean", "beyond 1", "no score", "text for a score"],
)
def test_what_is_no_mean_of_shares_is_not_in_percent(changed, edit) -> None:
    found = one("captions", changed(edit))
    assert found.shares is None and found.metric == "w_share" and len(found.items) == 4


def test_percent_and_rounded_shares_are_known_again(changed) -> None:
    out = changed(lambda _, c, r: entry(c).update({"w_share,none": 93.75}))
    assert one("captions", out).shares == [100, 75, 100, 100]
    (file,) = out.rglob("*_results.json")
    file.write_text(file.read_text().replace("93.75", "0.9376"))
    assert one("captions", out).shares == [100, 75, 100, 100]


def test_a_standard_error_is_read(changed) -> None:
    out = changed(lambda _, c, r: entry(c).update({"w_share_stderr,none": 0.0625}))
    assert one("captions", out).metrics == {"w_share": (0.9375, 0.0625), "w_points": (77, None)}


def test_questions_that_are_there_twice_give_no_single_scores(changed) -> None:
    found = one("captions", changed(lambda _, c, r: r.extend(r)))
    assert (found.items, found.shares, found.n) == ((), None, 4)


def test_of_a_tag_the_tasks_are_taken(changed) -> None:
    def leave_some(_: Path, content: dict[str, Any], rows: list) -> None:
        for name in ("points", "small_mme", "small_pope"):
            del content["results"][name]

    found = read_results(changed(leave_some), "my_tag")
    assert [each.name for each in found] == ["captions", "colours", "shapes"]


def broken_later(folder: Path, content: dict[str, Any], rows: list) -> None:
    (folder / "20260101_000000_results.json").write_text("{}")


def hostile(_: Path, content: dict[str, Any], rows: list) -> None:
    content["group_subtasks"]["captions"] = ["../../escape"]


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (broken_later, "expected one file"),
        (hostile, "cannot be a folder's"),
        (lambda _, c, r: entry(c).clear(), "gives no number for captions"),
        (
            lambda _, c, r: entry(c).update({"w_share,none": float("nan"), "w_points,none": None}),
            "gives no number for captions",
        ),
        (lambda _, c, r: r.pop(), "not as many samples"),
        (lambda _, c, r: r.clear(), "the file cannot be read"),
        (lambda _, c, r: r[0].pop("doc_id"), "not results as lmms-eval writes them"),
        (lambda _, c, r: r[0].update(doc_id=[]), "not results as lmms-eval writes them"),
        (lambda _, c, r: r.__setitem__(0, "text"), "not results as lmms-eval writes them"),
        (lambda _, c, r: c.update(results=[]), "not results as lmms-eval writes them"),
        (lambda _, c, r: c.pop("n-samples"), "not results as lmms-eval writes them"),
        (lambda _, c, r: c["configs"].update(captions=7), "not results as lmms-eval writes them"),
    ],
)
def test_what_is_spoilt_is_refused(changed, edit, told) -> None:
    with pytest.raises(UserError, match=told):
        read_results(changed(edit), "captions")


def test_a_results_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    (tmp_path / "20260101_000000_results.json").write_text('{"results": {"capt')
    with pytest.raises(UserError, match="broken JSON"):
        read_results(tmp_path, "captions")
