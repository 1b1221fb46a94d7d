"""The shipped recipes: each is read, and its dry run goes through on stand-ins of the same form."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import stages.context as context_module
from adaptinf.console.display import SilentDisplay
from adaptinf.console.walk import Console
from adaptinf.data.catalogue import CATALOGUE
from adaptinf.errors import UserError
from config import Recipe, load_recipe
from stages.manager import run_lifelong
from stages.preview import preview
from tests.families import FAMILIES
from tests.families.processors import processor_of
from tests.published import write_benchmarks, write_datasets

ROOT = Path(__file__).parents[1]
RECIPES = {file.stem: file for file in sorted((ROOT / "configs").glob("*.yaml"))}
REAL = [name for name, file in RECIPES.items() if load_recipe(file).model.name != "tiny"]
QUICK = ("first_real_run", "parity_llava15", "adem_vl_scienceqa")
"""A model of another family, no task at all, and an adapter that is not LoRA."""


@pytest.fixture(scope="module")
def stand_ins(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ``datasets``, ``benchmarks`` and ``qwen3_vl``."""
    root = tmp_path_factory.mktemp("stand_ins")
    shutil.copytree(small_world, root / "datasets")
    write_datasets(root / "datasets")
    write_benchmarks(root / "benchmarks")
    model = FAMILIES["qwen3_vl"].build()
    model.resize_token_embeddings(len(processor_of("qwen3_vl").tokenizer))
    model.save_pretrained(root / "qwen3_vl")
    return root


@pytest.fixture
def moved(
    stand_ins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Recipe]:
    """A recipe as it ships, but for its model, data, run folder and the size of features."""

    def of(name: str, *further: str) -> Recipe:
        model = "tiny"  # a LLaVA
        if load_recipe(RECIPES[name]).model.name.startswith("Qwen"):
            model = str(stand_ins / "qwen3_vl")
            # It cannot be read from a folder without torchvision, for the videos' sake.
            processor = processor_of("qwen3_vl")
            monkeypatch.setattr(context_module, "load_processor", lambda source: processor)
        places = [f"model.name={model}", f"output_dir={tmp_path / 'run'}"]
        places += [f"data.root={stand_ins / 'datasets'}"]
        places += [f"evaluate.root={stand_ins / 'benchmarks'}"]
        places += ["featurize.batch_tokens=512", "featurize.dim=64"]  # for speed
        return load_recipe(RECIPES[name], [*places, *further])

    return of


def goes_through(text: str, recipe: Recipe) -> None:
    """Every task has usable rows, every stage is still to do, and there is a bill."""
    assert "the whole run from nothing" in text
    tasks = text.split("tasks, in order")[1].split("\n\n")[0] if recipe.tasks else ""
    for number, task in enumerate(recipe.tasks, 1):
        (line,) = [
            x.split() for x in tasks.splitlines() if x.split()[:2] == [str(number), task.label]
        ]
        assert int(line[4].replace(",", "")) > 0
    if recipe.evaluate.benchmarks != "all":
        assert f"{len(recipe.evaluate.benchmarks)} benchmarks: 0 done" in text


@pytest.mark.parametrize("name", QUICK)
def test_a_dry_run_goes_through(name: str, moved: Callable[..., Recipe]) -> None:
    goes_through(preview(moved(name)), load_recipe(RECIPES[name]))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RECIPES if name not in QUICK])
def test_the_dry_run_of_every_recipe_goes_through(name: str, moved: Callable[..., Recipe]) -> None:
    goes_through(preview(moved(name)), load_recipe(RECIPES[name]))


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_every_stage_of_a_recipe_for_a_real_model_runs(
    name: str, moved: Callable[..., Recipe]
) -> None:
    """With one epoch, and rows loaded in this process."""
    recipe = moved(name, "train.epochs=1", "data.workers=0")
    run_lifelong(recipe, Console(SilentDisplay(), None))
    matrix = json.loads((recipe.output_dir / "matrix.json").read_text())
    labels = [f"{number}-{task.label}" for number, task in enumerate(recipe.tasks, 1)]
    assert matrix["steps"] == ["base", *labels]
    assert [b["name"] for b in matrix["benchmarks"]] == list(recipe.evaluate.benchmarks)
    assert all((recipe.output_dir / "steps" / x / "train/adapter").is_dir() for x in labels)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_writes_into_a_folder_of_its_name_and_says_what_it_is(name: str) -> None:
    assert load_recipe(RECIPES[name]).output_dir == Path("runs") / name
    lines = RECIPES[name].read_text().splitlines()
    assert lines[0].startswith("# ")
    assert max(map(len, lines)) <= 112


@pytest.mark.parametrize("name", REAL)
def test_a_recipe_for_a_real_model_says_what_to_fetch_and_what_was_not_run(name: str) -> None:
    recipe, text = load_recipe(RECIPES[name]), RECIPES[name].read_text()
    for said in ("Not run", "# Should reach: ", "# Forecast: ", "# Before"):
        assert said in text
    fetched = [x for x in text.splitlines() if x.startswith("#   download-datasets")]
    datasets = " ".join(x for x in fetched if "--benchmarks" not in x).split()
    benchmarks = " ".join(x for x in fetched if "--benchmarks" in x).split()
    assert {task.dataset for task in recipe.tasks} == set(datasets) & set(CATALOGUE)
    assert set(recipe.evaluate.benchmarks) <= set(benchmarks)
    assert str(recipe.data.root or "datasets") == "datasets"
    if recipe.model.name.startswith("./"):
        assert f"--out {recipe.model.name.removeprefix('./')}\n" in text


def test_what_is_not_there_is_told_with_what_fetches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADAPTINF_BENCHMARKS_ROOT", raising=False)
    recipe = load_recipe(RECIPES["adapt_inf_llava15_7b_25k"])
    with pytest.raises(
        UserError, match=r"data\.root: .* is not there .*`download-datasets llava m3it"
    ):
        preview(recipe)
    first = load_recipe(RECIPES["first_real_run"])
    told = "`download-datasets llava vision_flan scienceqa --root datasets --limit 2000`"
    with pytest.raises(UserError, match=told):
        preview(first)
    Path("datasets").mkdir()
    with pytest.raises(UserError, match="`download-datasets llava --root datasets`"):
        preview(recipe)
    with pytest.raises(UserError, match="`download-datasets llava --root datasets --limit 2000`"):
        preview(first)
    parity = load_recipe(RECIPES["parity_llava15"])
    with pytest.raises(UserError, match=r"no labels of scienceqa;.*--benchmarks --root benchmarks"):
        preview(parity)
    write_benchmarks(Path("benchmarks"))
    with pytest.raises(UserError, match=r"model\.name: there is no such folder .*adapter import"):
        preview(parity)


def test_without_tasks_the_base_model_is_measured_and_a_task_goes_on_from_there(
    small_world: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"

    def run(tasks: str) -> tuple[int, list[str]]:
        recipe.write_text(
            f"output_dir: {tmp_path / 'run'}\ntasks: {tasks}\ndata: {{root: {small_world}}}\n"
            "select: {method: random, budget: 4}\ntrain: {batch_size: 4}\n"
            "evaluate: {benchmarks: [caption, more], limit: 2}\n"
        )
        done = run_lifelong(load_recipe(recipe), Console(SilentDisplay(), None))
        return done.performed, json.loads((tmp_path / "run/matrix.json").read_text())["steps"]

    assert run("[]") == (2, ["base"])
    assert (tmp_path / "run/report.html").is_file()
    base = (tmp_path / "run/steps/0-base/evaluate/more/DONE").read_bytes()
    assert run("[]") == (0, ["base"])
    performed, steps = run("[{dataset: mantis, limit: 8}]")
    assert steps == ["base", "1-mantis"]
    assert (tmp_path / "run/steps/0-base/evaluate/more/DONE").read_bytes() == base
    assert performed > 2


@pytest.fixture
def reckoned() -> object:
    sys.path.insert(0, str(ROOT / "scripts"))
    import forecast_recipes

    return forecast_recipes


def test_every_forecast_is_the_one_that_was_reckoned(reckoned) -> None:
    kept = json.loads((ROOT / "docs/recipes.json").read_text())
    lines = {line["recipe"].strip("`"): line for line in kept["lines"]}
    assert list(lines) == REAL
    assert kept["assumptions"] == reckoned.assumptions()
    for name, line in lines.items():
        assert f"{reckoned.told(line)}\n" in RECIPES[name].read_text(), name
    first = lines["first_real_run"]
    assert float(first["fetch"]) < 10
    assert float(first["hours_small"]) < 1


def test_the_arithmetic_of_a_forecast(reckoned) -> None:
    recipe = load_recipe(RECIPES["conlora_grounding"])
    model = reckoned.parameters(recipe)
    # Q and V of the upper 15 of CLIP's 23 blocks, rank 16; the projector's two linears, rank 16;
    # q and v of Llama's first 22 layers, rank 8.
    assert model.trained == (
        15 * 2 * 16 * (1024 + 1024) + 16 * (1024 + 4096 + 4096 + 4096) + 22 * 2 * 8 * (4096 + 4096)
    )
    assert model.sees
    told = reckoned.cost(recipe, model)
    # 120,624 rows ten times over, in batches of 64.
    assert told["steps"] == 18_848
    row = 2 * (model.text + model.trained) * (100 + 576) + 2 * model.vision * 577
    assert told["train"] == pytest.approx(1_206_240 * 3 * row)
    assert told["features"] == 0
    # 5,657 questions before and after, one image and 100 tokens each.
    assert told["evaluate"] == pytest.approx(2 * 5_657 * row)
    line = json.loads((ROOT / "docs/recipes.json").read_text())["lines"]
    (kept,) = [x for x in line if x["recipe"] == "`conlora_grounding`"]
    assert kept == reckoned.forecast(recipe, "conlora_grounding")
