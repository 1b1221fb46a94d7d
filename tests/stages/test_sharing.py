from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from adaptinf.console import make_console
from config import Recipe, load_recipe
from stages.manager import open_context, run_lifelong
from stages.sharing import share_stages

Contents = Callable[[Path], dict[str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def recipe_of(recipe_dict: dict, folder: Path) -> Callable[..., Recipe]:
    """One task, M3IT: its images are inside its rows, are written out and must come along."""
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump({**recipe_dict, "tasks": [{"dataset": "m3it"}]}))

    def load(run: str, *overrides: str) -> Recipe:
        return load_recipe(file, [f"output_dir={folder / run}", *overrides])

    return load


def made(recipe: Recipe) -> Path:
    with (recipe.output_dir.parent / "log.txt").open("a") as log:
        run_lifelong(recipe, make_console(None, log))
    return recipe.output_dir


@pytest.fixture(scope="module")
def sibling(recipe_of: Callable[..., Recipe]) -> Path:
    return made(recipe_of("adapt-inf"))


def costs(run: Path) -> dict[str, dict]:
    return {s["step"]: s["stages"] for s in json.loads((run / "cost.json").read_text())["steps"]}


def taken(run: Path) -> set[str]:
    return {str(file.parent.relative_to(run / "steps")) for file in run.rglob("DONE")}


def test_a_run_that_shares_ends_with_the_bytes_of_one_that_does_not(
    recipe_of: Callable[..., Recipe], sibling: Path, contents: Contents
) -> None:
    ranked = recipe_of("mean-rank", "select.scorer=mean-rank")
    shared = share_stages(open_context(ranked), [sibling])
    # All up to the first selection is alike, and pruning, which looks at features alone.
    alike = {
        *("0-base/evaluate/caption", "0-base/evaluate/more"),
        *("1-m3it/overlap/benchmarks/caption", "1-m3it/overlap/benchmarks/more"),
        *("1-m3it/ingest", "1-m3it/featurize", "1-m3it/prune"),
    }
    assert taken(ranked.output_dir) == alike
    assert shared == len(alike)
    known = costs(sibling)
    assert costs(ranked.output_dir)["1-m3it"]["featurize"] == known["1-m3it"]["featurize"]

    run = made(ranked)
    alone = made(recipe_of("alone", "select.scorer=mean-rank"))
    assert contents(run) == contents(alone)
    assert [*costs(run)] == [*costs(alone)]
    assert all(costs(run)[step].keys() == costs(alone)[step].keys() for step in costs(run))
    assert costs(run)["0-base"] == known["0-base"]


def test_what_was_made_otherwise_or_begun_is_left_alone(
    recipe_of: Callable[..., Recipe], sibling: Path
) -> None:
    other = recipe_of("other-seed", "seed=1")
    share_stages(open_context(other), [sibling])
    # The same data are ingested alike; answers and features have draws of the seed.
    assert {name.split("/")[1] for name in taken(other.output_dir)} == {"ingest", "overlap"}

    begun = recipe_of("begun", "select.scorer=mean-rank")
    begun.output_dir.mkdir()
    own = {"steps": [{"step": "0-base", "stages": {"evaluate": {"seconds": 1.0, "rows": 6}}}]}
    (begun.output_dir / "cost.json").write_text(json.dumps(own))
    share_stages(open_context(begun), [sibling])
    # Of a stage that the run has begun nothing is taken: its bill would be wrong.
    assert not (begun.output_dir / "steps/0-base").exists()
    assert costs(begun.output_dir)["0-base"]["evaluate"] == {"seconds": 1.0, "rows": 6}
    assert (begun.output_dir / "steps/1-m3it/ingest/DONE").is_file()


def test_taking_that_was_killed_is_done_over(
    recipe_of: Callable[..., Recipe], sibling: Path
) -> None:
    killed = recipe_of("killed", "select.scorer=mean-rank")
    answers = killed.output_dir / "steps/0-base/evaluate"
    shutil.copytree(sibling / "steps/0-base/evaluate/caption", answers / "caption")
    (answers / "caption/DONE").unlink()
    (answers / "more.tmp").mkdir()
    share_stages(open_context(killed), [sibling])
    assert sorted(path.name for path in answers.iterdir()) == ["caption", "more"]
    for name in ("caption", "more"):
        again, once = answers / name / "DONE", sibling / f"steps/0-base/evaluate/{name}/DONE"
        assert again.read_bytes() == once.read_bytes()
    assert costs(killed.output_dir)["0-base"] == costs(sibling)["0-base"]


def test_processor_seconds_are_counted_beside_those_of_the_clock(sibling: Path) -> None:
    spent = costs(sibling)["1-m3it"]["train"]
    assert spent.keys() == {"seconds", "cpu_seconds", "rows"}
    assert spent["cpu_seconds"] > 0
