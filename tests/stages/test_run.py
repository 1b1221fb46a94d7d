"""Whole runs in processes of their own, on the shipped model and a small embedded world."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from adaptinf.evaluation.matrix import AccuracyMatrix

RunnerOf = Callable[[dict], Callable]
Contents = Callable[[Path], dict[str, str]]


BY_BENCHMARK = ("evaluate", "overlap/benchmarks")


def test_run_leaves_what_the_run_folder_promises(undisturbed: Path) -> None:
    matrix = json.loads((undisturbed / "matrix.json").read_text())
    assert matrix["steps"] == ["base", "1-llava", "2-mantis"]
    assert [b["name"] for b in matrix["benchmarks"]] == ["caption", "more"]
    assert [b["learned_at"] for b in matrix["benchmarks"]] == [1, 2]
    for step in ("1-llava", "2-mantis"):
        folder = undisturbed / "steps" / step
        stages = {file.parent.relative_to(folder).as_posix() for file in folder.rglob("DONE")}
        assert stages == {
            *("ingest", "featurize", "select", "train", "prune"),
            *(f"{stage}/{name}" for stage in BY_BENCHMARK for name in ("caption", "more")),
            *(["overlap/datasets"] if step == "2-mantis" else []),
        }
        assert (folder / "train/adapter/adapter_model.safetensors").stat().st_size > 10_000
        assert pq.read_table(folder / "select/selection.parquet").num_rows == 12
    for name in ("config.resolved.yaml", "environment.json", "cost.json", "report.html"):
        assert (undisturbed / name).stat().st_size > 100
    assert not list(undisturbed.rglob("*.tmp"))
    assert not list(undisturbed.rglob("checkpoints"))


def test_counts_account_for_every_row(undisturbed: Path) -> None:
    for done in undisturbed.rglob("DONE"):
        counts = json.loads(done.read_text())["counts"]
        assert counts["in"] == counts["kept"] + sum(counts["dropped"].values()), done


def test_adapters_load_with_stock_peft_and_change_the_answers(undisturbed: Path) -> None:
    import torch
    from peft import PeftModel

    from adaptinf.models.loading import ModelSource, load_model

    batch = {"input_ids": torch.tensor([[5, 9, 13, 17]])}
    base = load_model(ModelSource("tiny"))
    with torch.no_grad():
        plain = base(**batch).logits
        for step in ("1-llava", "2-mantis"):
            adapter = undisturbed / "steps" / step / "train" / "adapter"
            model = PeftModel.from_pretrained(base, str(adapter))
            changed = model(**batch).logits
            assert (changed - plain).abs().max() > 1e-3
            base = model.unload()
    assert torch.equal(base(**batch).logits, plain)


def test_pool_keeps_its_budget_and_pruned_rows_stay_away(undisturbed: Path) -> None:
    kept = pq.read_table(undisturbed / "steps/1-llava/prune/pool.parquet")["uid"].to_pylist()
    gone = pq.read_table(undisturbed / "steps/1-llava/prune/pruned.parquet")["uid"].to_pylist()
    later = pq.read_table(undisturbed / "steps/2-mantis/ingest/pool.parquet")["uid"].to_pylist()
    before = pq.read_table(undisturbed / "steps/1-llava/ingest/pool.parquet")["uid"].to_pylist()
    assert len(kept) == min(30, len(before))
    assert set(kept) | set(gone) == set(before)
    assert later[: len(kept)] == kept
    assert not set(later) & set(gone)


def test_finished_run_has_nothing_to_do(
    recipe_dict: dict, runner_of: RunnerOf, undisturbed: Path, contents: Contents
) -> None:
    before = contents(undisturbed)
    assert runner_of(recipe_dict)(undisturbed).stdout.strip() == "0"
    assert contents(undisturbed) == before


def test_killed_in_every_stage_it_ends_with_the_same_bytes(
    recipe_dict: dict,
    runner_of: RunnerOf,
    undisturbed: Path,
    tmp_path: Path,
    contents: Contents,
) -> None:
    runner, run = runner_of(recipe_dict), tmp_path / "run"
    kills = [
        *("0/evaluate:1", "1/ingest:4", "1/featurize:2", "1/select:1", "1/train:4"),
        *("1/evaluate:3", "1/prune:1", "2/featurize:3", "2/train:5"),
    ]
    for kill in kills:
        assert runner(run, kill=kill).returncode == -signal.SIGKILL, kill
    runner(run)
    assert contents(run) == contents(undisturbed)


def test_appended_task_and_benchmark_compute_only_what_is_new(
    recipe_dict: dict, runner_of: RunnerOf, tmp_path: Path, contents: Contents
) -> None:
    """Two tasks and four benchmarks are done; a third and a fifth are added."""
    tasks = [{"dataset": name} for name in ("llava", "minigpt4", "mantis")]
    skills = ["caption", "colour", "story", "both", "more"]

    def recipe(n_tasks: int, n_benchmarks: int) -> dict:
        benchmarks = {"benchmarks": skills[:n_benchmarks], "batch_size": 6}
        return recipe_dict | {"tasks": tasks[:n_tasks], "evaluate": benchmarks}

    appended, one_go = tmp_path / "appended", tmp_path / "one_go"
    runner_of(recipe(2, 4))(appended)
    report = (appended / "report.html").read_text()
    # All of the stages; the card of a step tells the new benchmark too.
    stamps = {f: f.stat().st_mtime_ns for f in (appended / "steps").glob("*/*/**/*") if f.is_file()}
    performed = int(runner_of(recipe(3, 5))(appended).stdout.splitlines()[-1])
    # The new column for three old rows, and the new questions against two old datasets; for the
    # new step five stages, five benchmarks to ask and to compare with, and the datasets before.
    assert performed == 3 + 2 + 5 + 5 + 5 + 1
    assert all(file.stat().st_mtime_ns == stamp for file, stamp in stamps.items())
    runner_of(recipe(3, 5))(one_go)
    assert contents(appended) == contents(one_go)
    assert (appended / "report.html").read_text() != report


def test_changed_recipe_is_refused_until_fresh(
    recipe_dict: dict, runner_of: RunnerOf, undisturbed: Path, tmp_path: Path
) -> None:
    from adaptinf.errors import UserError
    from config import load_recipe
    from stages.manager import open_context
    from stages.walk import plan_walk

    runner = runner_of(recipe_dict | {"output_dir": str(undisturbed)})
    changed = load_recipe(runner.recipe, ["train.learning_rate=1.0e-3"])
    works = [work for step in plan_walk(open_context(changed)) for work in step.ordered]
    drifted = [work.name for work in works if work.is_drifted()]
    assert drifted[:3] == ["1-llava/train", "1-llava/evaluate/caption", "1-llava/evaluate/more"]
    assert "1-llava/prune" not in drifted
    assert "2-mantis/select" in drifted
    work = next(work for work in works if work.name == "1-llava/train")
    with pytest.raises(UserError, match=r"learning_rate was 0.002, is 0.001.*--fresh"):
        work.done()


def test_matrix_equals_the_scores_of_its_cells(undisturbed: Path) -> None:
    matrix = AccuracyMatrix.from_json((undisturbed / "matrix.json").read_text())
    for row, step in enumerate(("0-base", "1-llava", "2-mantis")):
        for column, benchmark in enumerate(("caption", "more")):
            folder = undisturbed / "steps" / step / "evaluate" / benchmark
            lines = (folder / "predictions.jsonl").read_text().splitlines()
            mean = 100 * sum(json.loads(line)["score"] for line in lines) / len(lines)
            assert matrix.scores[row, column] == pytest.approx(mean)
