"""lmms-eval as a program of its own, in an environment that may be another one than this."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from adaptinf.errors import UserError

LAUNCHER = "stages.lmms.launcher"
BESIDE = ("transformers", "peft", "torch")
"""Packages that an adapter's answers depend on."""

TAIL = 20
"""Last lines that are shown of a call that failed."""

_CODES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")
"""Colours, and whatever else would steer a terminal."""

_LOOK = f"""
import importlib.metadata, importlib.util, json, sys
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
lacks = None
if "live" in sys.argv:
    try:
        import adaptinf.adapters, {LAUNCHER}
    except Exception as error:
        lacks = f"{{type(error).__name__}}: {{error}}"
there = importlib.util.find_spec("lmms_eval")
others = {{name: version(name) for name in {BESIDE}}}
print("\\n" + json.dumps([version("lmms_eval") if there else None, lacks, others]))
"""


@dataclass(frozen=True, slots=True)
class Environment:
    """Where lmms-eval is: its version, None where it is not there.

    ``live``: adapters are to be put on its models; ``lacks`` says why adaptinf, which that takes,
    cannot be had. ``versions`` are those of packages that matter to an adapter.
    """

    python: str
    version: str | None
    live: bool
    lacks: str | None
    versions: Mapping[str, str]

    def otherwise(self) -> list[str]:
        """In which of those packages it differs from this environment."""
        return [
            f"{name} {self.versions[name]}, here {ours}"
            for name, ours in _here().items()
            if self.versions[name] != ours
        ]

    def require(self) -> str:
        """The version of lmms-eval.

        Raises:
            UserError: it is not there, or, where an adapter is to be put on a model, adaptinf is
                not, or another transformers is.
        """
        if self.version is None:
            raise UserError(
                "lmms-eval is not installed for this Python",
                where=self.python,
                hint="give one that has it with --python; a separate environment is advised",
            )
        if self.lacks:
            raise UserError(
                "an adapter that cannot be merged needs adaptinf beside lmms-eval",
                where=self.python,
                seen=self.lacks,
                hint="install adaptinf for that Python too",
            )
        ours, theirs = _here()["transformers"], self.versions["transformers"]
        # Adapters that hook into a forward pass go by the names of its arguments. Version 5.24 has
        # changed some: under it, an adapter of 5.23 gave the base model's answers without a word.
        if self.live and ours.split(".")[:2] != theirs.split(".")[:2]:
            raise UserError(
                "an adapter needs the transformers that it was trained with",
                where=self.python,
                seen=theirs,
                hint=f"install transformers=={ours} there",
            )
        return self.version


@dataclass(frozen=True, slots=True)
class Call:
    """Arguments of lmms-eval that are the same for all tasks and steps."""

    python: str
    model: str
    model_args: str = ""
    batch_size: int = 1
    limit: int | None = None
    device: str | None = None
    include_path: Path | None = None

    def command(self, task: str, model: Path, out: Path, adapter: Path | None) -> list[str]:
        """The whole call for one task: a model's folder, and an adapter to be put on it."""
        module = [LAUNCHER, "--adapter", str(adapter)] if adapter else ["lmms_eval"]
        given = ",".join(filter(None, [f"pretrained={model}", self.model_args]))
        command = [self.python, "-m", *module, "--model", self.model, "--model_args", given]
        command += ["--tasks", task, "--batch_size", str(self.batch_size), "--log_samples"]
        command += ["--output_path", str(out)]
        for name in ("limit", "device", "include_path"):
            if (value := getattr(self, name)) is not None:
                command += [f"--{name}", str(value)]
        return command


def _here() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in BESIDE}


def look(python: str, *, live: bool) -> Environment:
    """What there is for a Python; ``live``: with adaptinf beside lmms-eval.

    Raises:
        UserError: it is no Python.
    """
    program = shutil.which(python)
    if program is None:
        raise UserError("no such Python", where="--python", seen=python)
    command = [program, "-c", _LOOK, *(["live"] if live else [])]
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
    try:
        version, lacks, versions = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        seen = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise UserError("no Python that works", where=program, seen=seen) from None
    return Environment(program, version, live, lacks, versions)


def run(command: list[str], log: Path) -> None:
    """Run a call to its end; all that it says goes into ``log``, but for the hub's token.

    Raises:
        UserError: it failed. lmms-eval ends well after most failures: without results it failed
            too, which `failure` tells in the same words.
    """
    # lmms-eval logs the token that it finds in the environment.
    named = ("TOKEN", "KEY")
    secrets = [v for name, v in os.environ.items() if name.endswith(named) and len(v) > 7]
    with (
        log.open("w", encoding="utf-8") as kept,
        subprocess.Popen(
            command,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                for secret in secrets:
                    line = line.replace(secret, "[token]")
                kept.write(line)
                kept.flush()
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise failure(log, f"lmms-eval ended with status {process.returncode}")


def _environment() -> dict[str, str]:
    """So that ``-m`` takes no ``config.py`` of the folder in which one works."""
    return {**os.environ, "PYTHONSAFEPATH": "1"}


def failure(log: Path, what: str) -> UserError:
    """An error with the last lines of a log."""
    with log.open(encoding="utf-8") as lines:
        cleaned = (_CODES.sub("", line.rstrip().rpartition("\r")[2]) for line in lines)
        last = deque((line for line in cleaned if line.strip()), maxlen=TAIL)
    head = UserError(what, where=str(log), hint="its last lines:")
    return UserError.group([head, *(UserError(f"  {line}") for line in last)])
