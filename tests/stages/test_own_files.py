"""A folder that holds modules of one's own by the names of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.lmms import call

COMMANDS = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "config.py",
        "stages/__init__.py",
        "selection/__init__.py",
        "adaptinf/__init__.py",
    ):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("raise RuntimeError('a module of the user')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        (["run-lifelong", "none.yaml"], 2, "none.yaml: cannot be read"),
        (["adaptinf", "adapter", "inspect", "none"], 2, "no adapter_config.json here"),
        (["adaptinf", "evaluate", "tiny", "--benchmarks", "none", "--out", "o"], 2, "unknown"),
        (["forgetting-report", "none"], 2, "no matrix.json here"),
        (["download-datasets", "none", "--dry-run"], 2, "none"),
        (
            ["torchrun", "--nproc-per-node", "1", "--no-python", "run-lifelong", "none.yaml"],
            1,
            "none.yaml: cannot be read",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_commands_take_their_own(work: Path, command: list[str], code: int, told: str) -> None:
    if command[0] == "torchrun":
        command = [*command[:4], str(COMMANDS / command[4]), *command[5:]]
    program = [str(COMMANDS / command[0]), *command[1:]]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert told in done.stderr
    assert "a module of the user" not in done.stderr
    assert done.returncode == code


def test_lmms_eval_is_called_with_ours(work: Path) -> None:
    """By ``python -m``, which else looks in the folder that it is started in."""
    log = work / "log.txt"
    call.run([sys.executable, "-m", "config"], log)
    assert "a module of the user" not in log.read_text()
    assert "PYTHONSAFEPATH" not in os.environ
