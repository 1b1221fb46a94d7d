"""A small finished run of a release, for the tests of later ones to go on with.

``git worktree add ../released v0.1.0``, then
``PYTHONPATH=../released python scripts/keep_run.py 0.1.0``: the code of that release writes
``tests/stages/given/0.1.0`` with a recipe, its data, and the run. Nothing in it depends on the
machine but floating-point results, the digests of these, and what ``environment.json`` tells.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path

import yaml
from PIL import Image

from adaptinf.console import make_console, quiet_libraries
from config import load_recipe
from stages.manager import run_lifelong
from stages.seals import reseal_result

GIVEN = Path(__file__).resolve().parents[1] / "tests" / "stages" / "given"
COLOURS = ("red", "green", "blue", "white", "black", "yellow")
PASSING = (".lock", "ranks", "logs", "events.jsonl")
"""What tells of a process, not of a run."""

RECIPE = {
    "output_dir": "run",
    "model": {"name": "tiny"},
    "tasks": [{"dataset": "data/colours.json"}, {"dataset": "data/opposites.json"}],
    "featurize": {"dim": 8, "layer": "last", "batch_tokens": 256, "max_rows": 8},
    "select": {"budget": 4},
    "prune": {"pool_budget": 8},
    "adapter": {"r": 1, "placement": [{"part": "text", "layers": "3-3", "leaves": ["q_proj"]}]},
    "train": {"learning_rate": 2e-3, "batch_size": 2},
    "evaluate": {"benchmarks": ["data/asked.yaml"], "limit": 3},
}


def conversation(question: str, answer: str, **more: str) -> dict[str, object]:
    """A row in LLaVA's form."""
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {**more, "conversations": turns}


def write_data(folder: Path) -> None:
    """Two tasks of twelve rows and three, one with images; a benchmark of three questions."""
    folder.mkdir(parents=True)
    rows, asked = [], []
    for number, colour in enumerate(COLOURS):
        Image.new("RGB", (8, 8), colour).save(folder / f"{colour}.png", optimize=True)
        for question in ("Which colour?", "What colour is it?"):
            named = f"{number}-{len(question)}"
            rows.append(
                conversation(f"<image>\n{question}", colour, id=named, image=f"{colour}.png")
            )
        asked.append({"image": f"{colour}.png", "text": "Which colour is this?", "answer": colour})
    (folder / "colours.json").write_text(json.dumps(rows, indent=1) + "\n")
    pairs = (("big", "small"), ("old", "new"), ("hot", "cold"))
    others = [conversation(f"What is not {a}?", b, id=a) for a, b in pairs]
    (folder / "opposites.json").write_text(json.dumps(others, indent=1) + "\n")
    lines = [json.dumps({"question_id": str(i), **one}) + "\n" for i, one in enumerate(asked[:3])]
    (folder / "asked.jsonl").write_text("".join(lines))
    described = {"name": "asked", "questions": "asked.jsonl", "metric": "exact"}
    (folder / "asked.yaml").write_text(yaml.safe_dump(described | {"taught_by": ["colours"]}))


def make_run(folder: Path) -> None:
    """Write data and recipe, run it, and leave what a person would take along."""
    write_data(folder / "data")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    os.chdir(folder)
    quiet_libraries()
    run_lifelong(load_recipe(Path("recipe.yaml"), []), make_console(None))
    for name in PASSING:
        place = Path("run", name)
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    file = Path("run", "environment.json")
    told = json.loads(file.read_text())
    told |= {"host": "kept", "image_roots": {}}
    file.write_text(json.dumps(told, indent=1) + "\n")
    reseal_result(file.parent, file.name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("release", help="as in 0.1.0")
    release = parser.parse_args().release
    # Paths are remembered: those of nobody's home.
    made = Path("/tmp", "kept", release)
    shutil.rmtree(made, ignore_errors=True)
    make_run(made)
    shutil.copytree(made, GIVEN / release)
