"""What the product's own source must not do, and what must not stand in a run folder."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FORBIDDEN = {"eval", "exec", "pickle.load", "pickle.loads", "yaml.load", "yaml.unsafe_load"}
FORBIDDEN |= {"yaml.full_load", "marshal.loads", "os.system", "os.popen", "dill.load"}
ON_FAILURE = "stages/failure.py"
"""Runs the command that the recipe gives for it, by a shell; nothing else does."""

SECRETS = {"HF_TOKEN": "hf_0123456789secret", "ADAPTINF_JUDGE_KEY": "sk-0123456789secret"}


def product() -> Iterator[tuple[str, ast.Call]]:
    """Every call in the product, with the name of what is called."""
    files = [ROOT / "config.py"]
    for package in ("adaptinf", "selection", "stages"):
        files += sorted((ROOT / package).rglob("*.py"))
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                yield f"{file.relative_to(ROOT)}:{node.lineno}", node


def given(call: ast.Call, keyword: str) -> object:
    found = [k.value for k in call.keywords if k.arg == keyword]
    return found[0].value if found and isinstance(found[0], ast.Constant) else None


def test_nothing_that_is_read_is_run() -> None:
    calls = list(product())
    assert len(calls) > 1000
    found = []
    for where, call in calls:
        name = ast.unparse(call.func)
        unsafe = name == "torch.load" and given(call, "weights_only") is not True
        unsafe |= name == "np.load" and given(call, "allow_pickle") is not False
        unsafe |= given(call, "shell") is True and not where.startswith(ON_FAILURE)
        unsafe |= given(call, "trust_remote_code") is True
        unsafe |= given(call, "allow_pickle") is True
        if name in FORBIDDEN or unsafe:
            found.append(f"{where} {name}")
    assert found == []


def test_no_secret_of_the_environment_stands_in_a_run_folder(
    recipe_dict: dict, runner_of, tmp_path: Path
) -> None:
    recipe = {**recipe_dict, "tasks": recipe_dict["tasks"][:1]}
    command = [str(Path(sys.executable).with_name("run-lifelong")), str(runner_of(recipe).recipe)]
    done = subprocess.run(
        [*command, f"output_dir={tmp_path / 'run'}"],
        capture_output=True,
        text=True,
        env={**os.environ, **SECRETS},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    files = [file for file in (tmp_path / "run").rglob("*") if file.is_file()]
    assert {"config.resolved.yaml", "environment.json", "events.jsonl", "report.html"} <= {
        file.name for file in files
    }
    for secret in SECRETS.values():
        assert secret not in done.stdout + done.stderr
        assert not [file for file in files if secret.encode() in file.read_bytes()]
