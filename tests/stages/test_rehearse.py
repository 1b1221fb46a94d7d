"""Rehearsal in a run: what the model says of old questions is trained on beside the new rows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from adaptinf.console import make_console
from adaptinf.data.images import load_image
from adaptinf.data.pool import PoolTable, read_pool
from adaptinf.data.sample import Sample, Turn
from adaptinf.errors import UserError
from adaptinf.evaluation.generation import generate, texts_of
from adaptinf.report.findings import read_findings
from adaptinf.report.foretold import foretold_drops
from config import Recipe, load_recipe
from stages.context import Context
from stages.lineage import Lineage
from stages.manager import open_context, run_lifelong
from stages.rehearse import REHEARSAL, _Maker
from stages.walk import plan_walk

ROWS = 20
SETTINGS = (f"rehearse.rows={ROWS}", "rehearse.max_new_tokens=24")


def recipe_of(run: Path) -> Recipe:
    return load_recipe(run / "config.resolved.yaml", [f"output_dir={run}", *SETTINGS])


def go_on(run: Path, *, fresh: bool) -> None:
    with (run / "log.txt").open("a") as log:
        run_lifelong(recipe_of(run), make_console(run / "events.jsonl", log), fresh=fresh)


@pytest.fixture(scope="module")
def run(undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The undisturbed run with its second step made anew, rehearsed."""
    run = tmp_path_factory.mktemp("rehearsing") / "run"
    shutil.copytree(undisturbed, run)
    go_on(run, fresh=True)
    return run


@pytest.fixture(scope="module")
def made(run: Path) -> PoolTable:
    return read_pool(run / "steps" / "2-mantis" / "rehearse" / REHEARSAL)


def test_rows_are_old_questions_about_new_images(run: Path, made: PoolTable) -> None:
    pool = read_pool(run / "steps" / "2-mantis" / "ingest" / "pool.parquet")
    rows = pool.samples(range(len(pool)))
    old = {row.uid: row for row in rows if row.dataset == "llava"}
    new = {image for row in rows if row.dataset == "mantis" for image in row.images}
    for row in made.samples(range(len(made))):
        assert row.turns[0] == old[row.source_id].turns[0]
        assert set(row.images) <= new
        assert row.dataset == ("mantis" if row.images else "llava")
        assert row.source == "rehearsed/llava"
    counts = json.loads((run / "steps/2-mantis/rehearse/DONE").read_text())["counts"]
    assert (counts["in"], counts["kept"]) == (ROWS, len(made))
    assert counts["in"] == counts["kept"] + sum(counts["dropped"].values())
    assert len(made) > ROWS / 2


def test_answers_are_those_of_the_model_before_the_step(run: Path, made: PoolTable) -> None:
    context = open_context(recipe_of(run))
    taught = plan_walk(context)[1].train
    assert taught is not None
    rows = made.samples(range(len(made)))
    with context.model.adapted(Lineage.after([taught], "continue")) as model:
        said = [alone(context, model, row) for row in rows]
    assert [row.turns[1:] for row in rows] == [(Turn("assistant", text),) for text in said]
    lengths = [int(context.collator([row])["attention_mask"].sum()) for row in rows]
    assert made.numbers("n_tokens").tolist() == lengths


def alone(context: Context, model: Any, row: Sample) -> str:
    """The answer to a row's question, asked without any other."""
    root = context.image_root(row.dataset)
    images = [[load_image(root / name) for name in row.images]]
    batch = context.encoder.encode_prompts([row.turns[:1]], images)
    with torch.inference_mode():
        return texts_of(context.encoder, generate(model, batch, 24))[0]


def test_they_are_trained_on_beside_the_selected_ones(run: Path, made: PoolTable) -> None:
    step = run / "steps" / "2-mantis"
    chosen = pq.read_table(step / "select" / "selection.parquet").num_rows
    lineage = json.loads((step / "train" / "adapter" / "lineage.json").read_text())
    assert (lineage["rows"], lineage["rehearsed"]) == (chosen + len(made), len(made))
    log = (step / "train" / "log.jsonl").read_text().splitlines()
    assert len(log) == 2 * -(-lineage["rows"] // 4)  # two epochs of batches of four


def test_card_and_report_tell_of_it_and_nothing_is_foretold(run: Path, made: PoolTable) -> None:
    card = (run / "steps" / "2-mantis" / "train" / "adapter" / "README.md").read_text()
    assert f"{len(made)} rows: questions of earlier steps about images of this one" in card
    assert "questions of earlier steps" not in (run / "steps" / "1-llava" / "README.md").read_text()
    page = (run / "report.html").read_text()
    assert "Rehearsed rows per step" in page
    assert foretold_drops(read_findings(run)) == []
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    kinds = {event["kind"] for event in events}
    assert "run_finished" in kinds
    assert "outlook" not in kinds


def test_the_first_step_and_all_before_training_stay(
    run: Path, undisturbed: Path, contents: Callable[[Path], dict[str, str]]
) -> None:
    same = ("0-base", "1-llava", "2-mantis/ingest", "2-mantis/featurize", "2-mantis/select")
    before, now = contents(undisturbed), contents(run)
    # A step's card tells of its neighbours' results, which are others.
    kept = [name for name in before if name.removeprefix("steps/").startswith(same)]
    assert len(kept) > 20
    assert {name: now[name] for name in kept} == {name: before[name] for name in kept}
    assert not (run / "steps" / "1-llava" / "rehearse").exists()
    adapter = "steps/2-mantis/train/adapter/adapter_model.safetensors"
    assert now[adapter] != before[adapter]


@pytest.mark.parametrize("where", ["2/rehearse:1", "2/rehearse:3"])
def test_a_kill_changes_no_byte(
    run: Path,
    undisturbed: Path,
    recipe_dict: dict[str, Any],
    runner_of: Callable[[dict[str, Any]], Any],
    contents: Callable[[Path], dict[str, str]],
    tmp_path: Path,
    where: str,
) -> None:
    runner = runner_of(recipe_dict)
    killed = tmp_path / "run"
    shutil.copytree(undisturbed, killed)
    for stage in ("train", "evaluate", "prune"):
        shutil.rmtree(killed / "steps" / "2-mantis" / stage)
    assert runner(killed, *SETTINGS, kill=where).returncode == -9
    draft = killed / "steps" / "2-mantis" / "rehearse.tmp" / "answers.partial.jsonl"
    assert draft.read_text().strip()
    runner(killed, *SETTINGS)
    assert contents(killed) == contents(run)


def test_another_number_of_rows_is_another_recipe(run: Path) -> None:
    settings = [f"output_dir={run}", "rehearse.rows=3"]
    with pytest.raises(UserError, match="rows was 20, is 3"):
        run_lifelong(load_recipe(run / "config.resolved.yaml", settings), make_console(None, None))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "empty-answer"),
        ("see <image>", "image-mark-mismatch"),
        ("a b c d", "unfinished-answer"),
        ("a b c", None),
    ],
)
def test_what_is_no_answer_is_not_learned(text: str, fault: str | None) -> None:
    def tokenizer(text: str, **_: Any) -> dict[str, list[str]]:
        return {"input_ids": text.split()}

    encoder: Any = SimpleNamespace(processor=SimpleNamespace(tokenizer=tokenizer))
    assert _Maker({}, encoder).fault(text, 4) == fault
