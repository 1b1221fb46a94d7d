"""``adaptinf lmms`` on small runs, with a stand-in for lmms-eval beside this file.

The stand-in has its command, the functions that the launcher calls, and its files; what those hold
is checked in ``test_results.py`` on files of the real one.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from adaptinf.adapters import attach, load_adapter, merge
from adaptinf.evaluation import AccuracyMatrix, BenchmarkColumn
from adaptinf.models.loading import ModelSource, load_model, load_processor
from adaptinf.training.trainer import save_adapter
from stages.cli.guard import guarded, umbrella
from stages.cli.lmms import ask_tasks

STANDIN = Path(__file__).with_name("standin")
ROOT = Path(__file__).parents[3]
STEPS = ["base", "1-shop", "2-invoices"]
WORDS = ["Describe the image.", "What colour is it?"]


def make_run(folder: Path, **adapter: Any) -> Path:
    """A run of two steps with adapters none of whose parameters is zero."""
    folder.mkdir(parents=True)
    (folder / "config.resolved.yaml").write_text(
        f"output_dir: {folder}\nmodel: {{name: tiny}}\ntasks: [{{dataset: llava}}]\n"
    )
    column = BenchmarkColumn("own", "own", "exact", 2, 1)
    matrix = AccuracyMatrix(STEPS, [column], [[10], [90], [80]])
    (folder / "matrix.json").write_text(matrix.to_json())
    for number, step in enumerate(["0-base", *STEPS[1:]]):
        place = folder / "steps" / step
        inputs = {"model": "tiny", "questions": "q", **({"train": step} if number else {})}
        (place / "evaluate" / "own").mkdir(parents=True)
        (place / "evaluate" / "own" / "DONE").write_text(json.dumps({"inputs": inputs}))
        if number:
            save_step(place / "train" / "adapter", step, number, **adapter)
    return folder


def save_step(folder: Path, step: str, seed: int, merged: tuple[str, ...] = (), **adapter: Any):
    base = load_model(ModelSource("tiny"))
    for below in merged:
        base = merge(load_adapter(base, folder.parents[2] / below / "train" / "adapter"))
    model = attach(base, **{"r": 4, "dropout": 0.0, **adapter})
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    save_adapter(model, folder, "tiny")
    told = {"step": step, "continues": None, "merged": list(merged), "rows": 7, "average": "none"}
    (folder / "lineage.json").write_text(json.dumps(told))


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """Tasks of the stand-in, and two questions."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    image = Image.new("RGB", (32, 32), "white")
    image.paste("red", (2, 2, 14, 14))
    image.save(folder / "red.png")
    lines = [
        json.dumps({"text": text, "image": str(folder / "red.png"), "answer": "x"})
        for text in WORDS
    ]
    (folder / "questions.jsonl").write_text("\n".join(lines))
    mean = {"factor": 1, "mean": True}
    kinds: dict[str, Any] = {
        "plain": mean,
        "always": {**mean, "says": "x"},
        "silent": {**mean, "says": " "},
        "total": {"factor": 1400, "mean": False, "metric": "sum", "says": "x"},
        "world": {"group": ["plain", "always"]},
        "status": {"status": 3},
        "broken": {**mean, "value": "N/A"},
    }
    for name, kind in kinds.items():
        (folder / f"{name}.json").write_text(json.dumps(kind))
    return folder


Bridge = Callable[..., Result]


@pytest.fixture
def bridge(tasks: Path, monkeypatch: pytest.MonkeyPatch) -> Bridge:
    """The command on a run, with the stand-in's model that needs no torch unless told otherwise."""
    monkeypatch.setenv("PYTHONPATH", f"{STANDIN}{os.pathsep}{ROOT}")
    monkeypatch.setattr("adaptinf.console.quiet_libraries", lambda: None)
    app = umbrella("Below it are the commands.")
    app.command("lmms")(guarded(ask_tasks, "stopped"))

    def call(run: Path, names: str, *more: str, model: str = "echo", code: int = 0) -> Result:
        given = [str(run), "--tasks", names, "--include-path", str(tasks), "--model", model]
        done = CliRunner().invoke(app, ["lmms", *given, *more], catch_exceptions=False)
        assert done.exit_code == code, done.stderr
        return done

    return call


@pytest.fixture
def run(lora_run: Path, tmp_path: Path) -> Path:
    """A run whose adapters are LoRA."""
    shutil.copytree(lora_run, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def lora_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("made") / "run")


def calls(tasks: Path) -> list[tuple[str, str]]:
    """Steps and tasks of all calls so far."""
    file = tasks / "calls.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    found = []
    for arguments in map(json.loads, lines):
        values = dict(zip(arguments[::2], arguments[1::2], strict=False))
        path = Path(values["--model_args"].split(",")[0].removeprefix("pretrained="))
        found.append((path.parts[-3], values["--tasks"]))
    return found


def cell(run: Path, step: str, task: str) -> dict[str, Any]:
    return json.loads((run / "steps" / step / "lmms" / task / "scores.json").read_text())


def texts(run: Path, step: str, task: str) -> list[str]:
    file = run / "steps" / step / "lmms" / task / "predictions.jsonl"
    return [json.loads(line)["text"] for line in file.read_text().splitlines()]


@torch.inference_mode()
def expected(model: Any, tasks: Path) -> list[str]:
    """What a model answers in this process."""
    processor = load_processor(ModelSource("tiny"))
    said = []
    for words in WORDS:
        parts = [{"type": "image"}, {"type": "text", "text": words}]
        text = processor.apply_chat_template(
            [{"role": "user", "content": parts}], tokenize=False, add_generation_prompt=True
        )
        image = Image.open(tasks / "red.png")
        batch = processor(images=[image], text=text, return_tensors="pt")
        ids = model.generate(**batch, max_new_tokens=12, do_sample=False)
        fresh = ids[:, batch["input_ids"].shape[1] :]
        said.append(processor.batch_decode(fresh, skip_special_tokens=True)[0].strip())
    return said


def tiny() -> Any:
    return load_model(ModelSource("tiny")).to("cpu")


def test_merged_models_answer_as_the_run_s_do(run: Path, tasks: Path, bridge: Bridge) -> None:
    below = run / "steps" / "2-invoices" / "train" / "adapter"
    save_step(below, "2-invoices", 2, merged=("1-shop",))
    arguments = ("--model-args", "dtype=float32", "--steps", "base,2-invoices")
    bridge(run, "plain", *arguments, model="llava_hf")
    first = merge(load_adapter(tiny(), run / "steps" / "1-shop" / "train" / "adapter"))
    after = expected(load_adapter(first, below).eval(), tasks)
    before = expected(tiny(), tasks)
    assert texts(run, "0-base", "plain") == before != after
    assert texts(run, "2-invoices", "plain") == after
    assert not (run / "steps" / "1-shop" / "lmms").exists()
    assert not list(run.rglob(".model")) and not list(run.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("route", "more"),
    [
        ({"route": "mixlora", "num_experts": 8}, ()),
        pytest.param({"route": "adem"}, (), marks=pytest.mark.slow),
        pytest.param({}, ("--live",), marks=pytest.mark.slow),
    ],
    ids=["mixlora", "adem", "lora asked to be live"],
)
def test_live_adapters_answer_as_the_run_s_do(
    tmp_path: Path, tasks: Path, bridge: Bridge, route: dict, more: tuple[str, ...]
) -> None:
    run = make_run(tmp_path / "run", **route)
    arguments = ("--model-args", "dtype=float32", "--steps", "1-shop", *more)
    done = bridge(run, "plain", *arguments, model="llava_hf")
    assert "1-shop: writing the model (live)" in done.stderr
    adapter = run / "steps" / "1-shop" / "train" / "adapter"
    after = expected(load_adapter(tiny(), adapter).eval(), tasks)
    assert texts(run, "1-shop", "plain") == after != expected(tiny(), tasks)
    assert calls(tasks) == []  # not lmms-eval's own command, but the launcher


def test_columns_join_the_report_and_what_is_no_percentage_stays_apart(
    run: Path, bridge: Bridge
) -> None:
    stored = (run / "matrix.json").read_bytes()
    done = bridge(run, "always,total,world")
    table = done.stdout.splitlines()
    assert table[2].split() == ["lmms:always", "right,", "%", "100", "100", "100"]
    assert table[3].split() == ["lmms:total", "sum", "2800", "2800", "2800"]
    assert [line.split()[0] for line in table[4:6]] == ["lmms:world/always", "lmms:world/plain"]
    assert (run / "matrix.json").read_bytes() == stored
    page = (run / "report.html").read_text()
    assert "Through lmms-eval" in page and "no, own unit" in page
    # own 80, always twice 100, plain 0; the sum of 2,800 is not among them.
    assert "70.0 % on average over 4 benchmarks" in page


def test_what_is_done_is_not_asked_again(run: Path, tasks: Path, bridge: Bridge) -> None:
    bridge(run, "always", "--steps", "base")
    assert calls(tasks) == [("0-base", "always")]
    done = bridge(run, "always,plain", "--steps", "base,1-shop")
    assert calls(tasks)[1:] == [("0-base", "plain"), ("1-shop", "always"), ("1-shop", "plain")]
    assert cell(run, "0-base", "always")["mean"] == 100
    again = bridge(run, "always,plain", "--steps", "base,1-shop")
    assert len(calls(tasks)) == 4 and again.stdout == done.stdout
    assert "base: all done before" in again.stderr


def test_a_failure_keeps_what_was_done_before(run: Path, tasks: Path, bridge: Bridge) -> None:
    done = bridge(run, "always,gone", "--steps", "base", code=2)
    log = run / "steps" / "0-base" / "lmms" / "gone.tmp" / "log.txt"
    assert f"{log}: lmms-eval gave no results for gone after base" in done.stderr
    assert "Error during evaluation: Tasks not found: gone." in done.stderr
    assert "\x1b" not in done.stderr and "Traceback (most recent call last)" in log.read_text()
    assert not list(run.rglob(".model"))
    (tasks / "gone.json").write_text((tasks / "always.json").read_text())
    bridge(run, "gone", "--steps", "base")
    assert cell(run, "0-base", "gone")["mean"] == 100
    ended = bridge(run, "status", "--steps", "base", code=2)
    assert "lmms-eval ended with status 3" in ended.stderr and "as bad as" in ended.stderr


def test_results_without_a_number_are_refused(run: Path, bridge: Bridge) -> None:
    done = bridge(run, "broken", "--steps", "base", code=2)
    assert "lmms-eval gives no number for broken" in done.stderr
    assert not (run / "steps" / "0-base" / "lmms" / "broken").exists()


def test_another_way_of_asking_is_refused_and_fresh_removes_the_old(
    run: Path, tasks: Path, bridge: Bridge
) -> None:
    bridge(run, "always")
    done = bridge(run, "always", "--limit", "1", "--steps", "base", code=2)
    assert "0-base/lmms/always was asked in another way: limit was None, is 1" in done.stderr
    assert len(calls(tasks)) == 3
    bridge(run, "always", "--limit", "1", "--steps", "base", "--fresh")
    assert cell(run, "0-base", "always")["n"] == 1
    assert not (run / "steps" / "1-shop" / "lmms" / "always").exists()
    (tasks / "always.yaml").write_text("task: always")
    changed = bridge(run, "always", "--limit", "1", code=2)
    assert "other include_path" in changed.stderr


def test_empty_answers_are_told(run: Path, bridge: Bridge) -> None:
    done = bridge(run, "silent", "--steps", "base")
    assert "2 of 2 answers to silent are empty" in done.stderr
    assert cell(run, "0-base", "silent")["empty"] == 2


def test_the_hub_s_token_is_not_in_the_log(
    run: Path, bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_very_secret")
    bridge(run, "none_hf_very_secret", "--steps", "base", code=2)
    (log,) = run.rglob("log.txt")
    assert "not found: none_[token]" in log.read_text() and "very_secret" not in log.read_text()


def test_dry_run_prints_the_calls(tmp_path: Path, tasks: Path, bridge: Bridge) -> None:
    run = make_run(tmp_path / "run", route="mixlora", num_experts=8)
    done = bridge(run, "plain", "--limit", "5", "--dry-run", "--steps", "base,1-shop")
    head, base, second, live = done.stdout.splitlines()
    assert (head, second) == ("# base (base)", "# 1-shop (live)")
    assert " -m lmms_eval --model echo --model_args pretrained=" in base and "--limit 5" in base
    adapter = run / "steps" / "1-shop" / "train" / "adapter"
    assert f"-m stages.lmms.launcher --adapter {adapter} --model echo" in live
    assert calls(tasks) == [] and not list(run.rglob("lmms"))


@pytest.mark.parametrize(
    ("names", "more", "told"),
    [
        ("p*", (), "no name of a task"),
        ("plain", ("--steps", "1-shoo"), "did you mean '1-shop'?"),
        ("plain", ("--python", "no-such-python"), "no such Python"),
        ("plain", ("--include-path", "no-such-folder"), "no such folder"),
    ],
)
def test_mistakes_are_told(run: Path, bridge: Bridge, names, more, told) -> None:
    assert told in bridge(run, names, *more, code=2).stderr


def test_an_environment_without_lmms_eval_or_adaptinf_is_told(
    tmp_path: Path, bridge: Bridge
) -> None:
    run = make_run(tmp_path / "run", route="adem")
    bare = tmp_path / "python"
    for paths, told in (
        ("", "lmms-eval is not installed for this Python"),
        (str(STANDIN), "an adapter that cannot be merged needs adaptinf beside lmms-eval"),
    ):
        # -S: no packages but what the path has.
        bare.write_text(f'#!/bin/sh\nPYTHONPATH={paths} exec {sys.executable} -S "$@"\n')
        bare.chmod(0o755)
        done = bridge(run, "plain", "--python", str(bare), code=2)
        assert told in done.stderr, done.stderr


def test_adapters_are_not_put_on_models_of_another_transformers(
    tmp_path: Path, run: Path, bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other" / "transformers-99.0.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 99.0\n")
    paths = [str(other.parent), os.environ["PYTHONPATH"]]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    done = bridge(run, "plain", "--steps", "1-shop", "--live", code=2)
    assert "needs the transformers that it was trained with (seen: '99.0')" in done.stderr
    bridge(run, "always", "--steps", "base", "--live")  # the base model has no adapter


def test_a_later_run_loses_nothing(
    tmp_path: Path, undisturbed: Path, recipe_dict: dict, runner_of: Callable, bridge: Bridge
) -> None:
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    stored = (run / "matrix.json").read_bytes()
    bridge(run, "always")
    done = runner_of(recipe_dict)(run)
    assert done.stdout.splitlines()[-1] == "0"  # stages performed
    assert (run / "matrix.json").read_bytes() == stored
    assert "lmms:always" in (run / "report.html").read_text()
    assert cell(run, "2-mantis", "always")["mean"] == 100
