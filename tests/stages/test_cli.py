from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

COMMANDS = Path(sys.executable).parent


def call(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    command = [str(COMMANDS / arguments[0]), *arguments[1:]]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, stages.cli; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "typer" in loaded
    assert not loaded & {"torch", "numpy", "transformers", "pyarrow", "pydantic", "faiss", "jinja2"}


def test_help_tells_the_arguments() -> None:
    done = call("run-lifelong", "--help")
    assert done.returncode == 0
    for word in ("recipe", "--dry-run", "--fresh", "select.budget=5000"):
        assert word in done.stdout


def test_four_mistakes_give_four_lines_and_exit_2(tmp_path: Path) -> None:
    recipe = tmp_path / "bad.yaml"
    recipe.write_text(
        "output_dir: runs/x\n"
        "tasks: [{dataset: llava}]\n"
        "select: {metod: random, budget: many}\n"
        "adapter:\n"
        "  route: lorra\n"
        "  r: 0\n"
    )
    done = call("run-lifelong", str(recipe), cwd=tmp_path)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        [f"{recipe}:3", "select.metod"],
        [f"{recipe}:3", "select.budget"],
        [f"{recipe}:5", "adapter.route"],
        [f"{recipe}:6", "adapter.r"],
    ]
    assert "did you mean 'method'" in lines[0]
    assert "did you mean 'lora'" in lines[2]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = call("run-lifelong", str(tmp_path / "none.yaml"), "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_missing_dataset_is_told(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("output_dir: runs/x\ntasks: [{dataset: no_such}]\n")
    done = call("run-lifelong", str(recipe), cwd=tmp_path)
    assert done.returncode == 2
    assert "unknown dataset (seen: 'no_such')" in done.stderr


def test_interrupt_is_answered_with_what_it_means(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from stages.cli.guard import single

    def interrupted(debug: bool = False) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["run-lifelong"])
    with pytest.raises(SystemExit) as ended:
        single(interrupted, interrupted="stopped")()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "stopped\n"


def test_forgetting_report_of_a_finished_run(undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = call("forgetting-report", str(undisturbed), "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "caption" in done.stdout and "drop" in done.stdout
    assert out.read_text().startswith("<!doctype html>") or "<html" in out.read_text()[:200]
    refused = call("forgetting-report", str(tmp_path))
    assert refused.returncode == 2 and "no matrix.json here" in refused.stderr


def test_finished_run_says_so_and_where_the_report_is(
    recipe_dict: dict, runner_of: Callable, undisturbed: Path
) -> None:
    recipe = runner_of(recipe_dict).recipe
    done = call("run-lifelong", str(recipe), f"output_dir={undisturbed}")
    assert done.returncode == 0, done.stderr
    assert "nothing to do: every stage of this recipe is done" in done.stderr
    assert done.stdout.splitlines()[-1] == f"report: {undisturbed.resolve() / 'report.html'}"
    assert max(len(line) for line in done.stdout.splitlines()[:-1]) <= 100
