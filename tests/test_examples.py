"""The Slurm script, with stand-ins for Slurm's commands."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "examples" / "slurm.sh"

SRUN = """\
echo "srun $*" >> told
trap 'sleep 0.3; echo saved >> told; exit 1' TERM
echo $$ > process
[ -n "${STEP_STATUS:-}" ] && exit "$STEP_STATUS"
while :; do sleep 0.05; done
"""
SCANCEL = 'echo "scancel $*" >> told; kill -TERM "$(cat process)"\n'
SCONTROL = """\
if [ "$1" = show ]; then printf 'node07\\nnode08\\n'; else echo "scontrol $*" >> told; fi
"""


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """An environment in which Slurm seems to be."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in (("srun", SRUN), ("scancel", SCANCEL), ("scontrol", SCONTROL)):
        (commands / name).write_text(f"#!/usr/bin/env bash\n{text}")
        (commands / name).chmod(0o755)
    job = {"SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": "node[07-08]", "SLURM_JOB_NUM_NODES": "2"}
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    return os.environ | job | {"PATH": path, "SLURM_GPUS_ON_NODE": "8"}


def started(folder: Path, environment: dict[str, str]) -> subprocess.Popen:
    command = ["bash", str(SCRIPT), "recipe.yaml", "select.budget=5"]
    return subprocess.Popen(command, cwd=folder, env=environment)


def test_it_is_a_script_that_asks_to_be_told_in_time() -> None:
    assert subprocess.run(["bash", "-n", str(SCRIPT)], check=False).returncode == 0
    asked = {line for line in SCRIPT.read_text().splitlines() if line.startswith("#SBATCH")}
    assert {"#SBATCH --requeue", "#SBATCH --signal=B:TERM@120"} <= asked


def test_told_of_the_end_it_lets_the_ranks_save_and_goes_back_into_the_queue(
    tmp_path: Path, cluster: dict[str, str]
) -> None:
    script = started(tmp_path, cluster)
    while not (tmp_path / "process").is_file():
        assert script.poll() is None
        time.sleep(0.02)
    script.send_signal(signal.SIGTERM)
    assert script.wait(timeout=60) == 0
    started_with, *then = (tmp_path / "told").read_text().splitlines()
    assert then == ["scancel --signal=TERM 77", "saved", "scontrol requeue 77"]
    words = started_with.split()
    assert words[words.index("--nproc-per-node") + 1] == "8"
    assert words[words.index("--nnodes") + 1] == "2"
    assert words[words.index("--rdzv-endpoint") + 1] == "node07:29500"
    assert words[-4:] == ["--no-python", "run-lifelong", "recipe.yaml", "select.budget=5"]


@pytest.mark.parametrize("status", [0, 2])
def test_a_run_that_ends_by_itself_is_not_put_back(
    tmp_path: Path, cluster: dict[str, str], status: int
) -> None:
    script = started(tmp_path, cluster | {"STEP_STATUS": str(status)})
    assert script.wait(timeout=60) == status
    assert len((tmp_path / "told").read_text().splitlines()) == 1
