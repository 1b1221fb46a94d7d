"""The dry run over a small world: what it says, and that it leaves no trace."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from transformers import PreTrainedModel

from adaptinf.data.masks import masked, masked_text
from adaptinf.data.world.build import WorldSizes, build_world
from adaptinf.models import loading
from config import Recipe, load_recipe
from stages import resident
from stages.look import look_at
from stages.manager import open_context
from stages.preview import preview
from stages.record import DONE
from stages.walk import plan_walk
from stages.work import Work

# Rows of the datasets at scale 0.01 with at least four per skill, counted by hand.
ROWS = {"llava": 30, "m3it": 25, "minigpt4": 4, "mantis": 14, "vision_flan": 18}
BENCHMARKS, QUESTIONS = 14, 4
SECTIONS = ["recipe", "tasks, in order", "first samples", "stages", "bill"]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    sizes = WorldSizes(scale=0.01, benchmark_rows=QUESTIONS)
    return build_world(tmp_path_factory.mktemp("world"), 0, sizes)


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory, world) -> Path:
    tasks = "".join(f"  - {{dataset: {name}}}\n" for name in ROWS)
    file = tmp_path_factory.mktemp("recipes") / "small.yaml"
    file.write_text(
        f"output_dir: {file.parent / 'run'}\ndata: {{root: {world}}}\ntasks:\n{tasks}"
        "featurize: {max_rows: null}\nselect: {budget: 5}\ntrain: {epochs: 2}\n"
    )
    return file


@pytest.fixture
def short(recipe_file, tmp_path):
    """The recipe cut to its smallest task and two benchmarks, in a run folder of the test's own."""

    def make(*overrides: str) -> Recipe:
        smaller = [
            f"output_dir={tmp_path / 'run'}",
            "tasks=[{dataset: minigpt4}]",
            "evaluate.benchmarks=[caption, digit]",
        ]
        return load_recipe(recipe_file, [*smaller, *overrides])

    return make


@pytest.fixture(autouse=True, scope="module")
def weightless():
    def refuse(*args, **kwargs):
        raise AssertionError("weights were loaded")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "load_model", refuse)
        patch.setattr(resident, "load_model", refuse)
        patch.setattr(PreTrainedModel, "from_pretrained", refuse)
        yield


@pytest.fixture(scope="module")
def recipe(recipe_file) -> Recipe:
    return load_recipe(recipe_file)


@pytest.fixture(scope="module")
def text(recipe) -> str:
    return preview(recipe)


def section(text: str, title: str) -> list[str]:
    """The lines below a title, without their indent."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(title))
    rest = lines[start + 1 :]
    end = next((i for i, line in enumerate(rest) if line and line[0] != " "), len(rest))
    return [line[2:] for line in rest[:end] if line.strip()]


def cells(text: str, title: str) -> list[list[str]]:
    """The rows of the table below a title."""
    lines = section(text, title)
    rule = next(i for i, line in enumerate(lines) if line.startswith("--"))
    return [re.split(r"\s{2,}", line.strip()) for line in lines[rule + 1 :]]


def finish(work: Work, kept: int = 0) -> None:
    work.folder.mkdir(parents=True)
    record = {"fingerprint": work.fingerprint, "version": 1, "settings": dict(work.settings)}
    record |= {"inputs": dict(work.inputs), "counts": {"in": kept, "kept": kept, "dropped": {}}}
    (work.folder / DONE).write_text(json.dumps(record))


def tree(folder: Path) -> dict[Path, bytes | None]:
    return {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def test_every_section_in_order(text):
    titles = [line for line in text.splitlines() if line and line[0] != " "]
    assert [t for t, name in zip(titles, SECTIONS, strict=True) if t.startswith(name)] == titles
    assert "budget: 5" in "".join(section(text, "recipe"))
    assert max(map(len, text.splitlines())) <= 100


def test_rows_are_counted_and_tasks_stand_in_order(text):
    assert [(row[0], row[1], row[2]) for row in cells(text, "tasks")] == [
        (str(step), name, str(rows)) for step, (name, rows) in enumerate(ROWS.items(), 1)
    ]


def test_a_limit_counts_and_problems_are_told(short, world, tmp_path):
    rows = json.loads((world / "minigpt4/filter_cap.json").read_text())["annotations"]
    folder = tmp_path / "data"
    shutil.copytree(world / "minigpt4/image", folder / "image")
    broken = [{"image_id": "none", "caption": "c"}, *rows, {"image_id": "5"}]
    (folder / "mine.json").write_text(json.dumps({"annotations": broken}))
    recipe = short(f"tasks=[{{dataset: {folder / 'mine.json'}, limit: 3}}]")
    with_limit = cells(preview(recipe), "tasks")[0]
    assert with_limit[1:5] == ["mine", "6", "3", "3"]
    assert with_limit[-1] == "4: 1 missing-image"


def test_the_marked_part_of_a_sample_is_its_answers(recipe, tmp_path):
    context = open_context(recipe, tmp_path)
    for label in ROWS:
        pool = look_at(context, label).pool
        for position in range(len(pool)):
            sample = pool.sample(position)
            shown = masked_text(masked(context.collator, sample))
            answers = [turn.text for turn in sample.turns if turn.role == "assistant"]
            assert re.findall(r"\[\[(.*?)\]\]", shown) == [f" {text}</s>" for text in answers]
            assert shown.count("<image> x 16 ") == shown.count("<image>") == len(sample.images)


def test_a_sample_of_every_task_is_shown(text):
    lines = section(text, "first samples")
    assert [line for line in lines if line[0] != " "] == list(ROWS)
    shown = " ".join(" ".join(lines).split())
    assert shown.count("</s>]]") >= len(ROWS)
    assert "Name the colours of both images" in shown or "<image> x 16 <image> x 16" in shown


def test_the_bill_counts_the_rows_of_every_stage(text, recipe, tmp_path):
    bill = {row[0]: row[1:] for row in cells(text, "bill")[:7]}
    context = open_context(recipe, tmp_path)
    usable = [look_at(context, label).usable for label in ROWS]
    pools = sum(sum(usable[: i + 1]) for i in range(len(usable)))
    assert {stage: row[:2] for stage, row in bill.items() if stage != "total"} == {
        "ingest": ["91", "91"],
        "featurize": [str(pools)] * 2,
        "select": [str(pools)] * 2,
        "train": ["50", "50"],
        "evaluate": [str(6 * BENCHMARKS * QUESTIONS)] * 2,
        "prune": [str(pools)] * 2,
    }
    assert bill["featurize"][4] == f"{pools * (2 * (1024 + 128) + 80) / 1000:.3g} kB"
    assert bill["train"][4] == f"{5 * 139_264 * 4 / 1e6:.3g} MB"


def test_no_trace_in_a_run_that_has_not_begun(text, recipe):
    assert not recipe.output_dir.exists()


def test_what_is_done_is_told_and_costs_nothing(short):
    recipe = short()
    base, first = plan_walk(open_context(recipe))
    finish(base.evaluate[0])
    finish(first.ingest, kept=4)
    before = tree(recipe.output_dir)
    text = preview(recipe)
    assert tree(recipe.output_dir) == before
    assert cells(text, "stages") == [
        ["0-base", "evaluate", "2 benchmarks: 1 done"],
        ["1-minigpt4", "ingest", "done"],
        *([stage, "to do"] for stage in ("overlap", "featurize", "select", "train")),
        ["evaluate", "2 benchmarks: 0 done"],
        ["prune", "to do"],
    ]
    bill = {row[0]: row[1:3] for row in cells(text, "bill")}
    assert bill["ingest"] == ["4", "0"]
    assert bill["evaluate"] == ["16", "12"]


def test_what_another_recipe_made_is_told(short):
    first = plan_walk(open_context(short()))[1]
    finish(first.ingest, kept=4)
    text = preview(short("data.max_length=300"))
    assert ["1-minigpt4", "ingest", "made with another recipe"] in cells(text, "stages")
    stop = " ".join(section(text, "stages"))
    assert "the run would stop here" in stop
    assert "max_length was None, is 300" in stop


def test_the_embedded_world_goes_elsewhere(short, monkeypatch):
    small = WorldSizes(scale=0.01, benchmark_rows=2)
    monkeypatch.setattr(
        "stages.manager.build_world", lambda root, seed: build_world(root, 0, small)
    )
    recipe = short("data.root=embedded")
    recipe.output_dir.mkdir()
    assert cells(preview(recipe), "tasks")[0][2] == "4"
    assert not any(recipe.output_dir.iterdir())


def test_methods_without_features_have_no_feature_pass(short):
    text = preview(short("select.method=sequential"))
    assert "featurize" not in " ".join(section(text, "stages"))
    bill = {row[0]: row[1:] for row in cells(text, "bill")}
    assert not {"glance", "featurize"} & bill.keys()
    assert bill["train"][:2] == ["8", "8"]


def test_a_capped_feature_pass_has_a_first_look(short):
    text = preview(short("featurize.max_rows=3"))
    bill = {row[0]: row[1:] for row in cells(text, "bill")}
    assert bill["glance"][:2] == ["4", "4"]
    assert bill["featurize"][:2] == ["3", "3"]
    assert bill["glance"][2] != "-"
