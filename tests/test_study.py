from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from adaptinf.notice import Notice
from config import Recipe, load_recipe

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import study  # noqa: E402
import study_pages  # noqa: E402
import study_pairs  # noqa: E402
import study_plan  # noqa: E402
import study_results  # noqa: E402
import study_runs  # noqa: E402

Contents = Callable[[Path], dict[str, str]]


@pytest.fixture(scope="module")
def reduced() -> study_plan.Plan:
    return study_plan.read_plan(reduced=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reduced study, from nothing."""
    folder = tmp_path_factory.mktemp("study")
    assert study.main(["run", str(folder), "--reduced"]) == 0
    return folder


def tables(runs: Path) -> tuple[str, str]:
    assert study.main(["tables", str(runs), "--reduced", "--out", str(runs / "results")]) == 0
    return (runs / "results.json").read_text(), (runs / "results.md").read_text()


def test_from_nothing_to_tables_twice_shared_or_not(
    runs: Path, reduced: study_plan.Plan, tmp_path: Path, contents: Contents
) -> None:
    cells = reduced.cells((), (), ())
    assert study_runs.make_all(reduced, cells, tmp_path, Notice(), share=False) == []
    for cell in cells:
        assert contents(tmp_path / cell.name) == contents(runs / cell.name)
        # What clocks decide is in cost.json alone.
        shutil.copy(runs / cell.name / "cost.json", tmp_path / cell.name)
    found, page = tables(runs)
    assert tables(tmp_path) == (found, page)
    rows = {row["method"]: row for row in json.loads(found)["summary"]}
    assert list(rows) == ["random", "adapt-inf"]
    assert rows["adapt-inf"]["selection_cost_share"]["mean"] > 0
    assert "| adapt-inf |" in page


def test_pairs_are_what_was_stored_before_the_step_trained(runs: Path, tmp_path: Path) -> None:
    run = shutil.copytree(runs / "reduced/adapt-inf-0", tmp_path / "adapt-inf-0")
    pairs = study_pairs.pairs_of(run)
    scores = json.loads((run / "matrix.json").read_text())["scores"]
    # Of the four benchmarks LLaVA teaches the first two, M3IT the others at this very step.
    assert [(pair.skill, pair.step, pair.way, pair.seed) for pair in pairs] == [
        ("caption", 2, "adapt-inf", 0),
        ("colour", 2, "adapt-inf", 0),
    ]
    assert [pair.predictors["level"] for pair in pairs] == scores[1][:2]
    assert [pair.drop for pair in pairs] == [scores[1][i] - scores[2][i] for i in range(2)]

    step = run / "steps/2-m3it"
    pool = {row["uid"]: row for row in pq.read_table(step / "ingest/pool.parquet").to_pylist()}
    scored = pq.read_table(step / "featurize/scores.parquet").to_pylist()
    units = np.load(step / "featurize/gradients-00000.npy").astype(float)
    full = {
        row["uid"]: row["gradient_norm"] * unit for row, unit in zip(scored, units, strict=True)
    }
    chosen = pq.read_table(step / "select/selection.parquet")["uid"].to_pylist()
    asked = [
        row["uid"]
        for row in scored
        if "colour" in pool[row["uid"]]["turns"][0]["text"] and pool[row["uid"]]["arrived"] == 1
    ]
    pull, probe = (sum(full[uid] for uid in uids) for uids in (chosen, asked))
    now = np.mean([np.log(row["perplexity"]) for row in scored if row["uid"] in asked])
    found = pairs[1].predictors
    assert found["conflict"] == pytest.approx(
        -(pull @ probe) / np.linalg.norm(pull) / np.linalg.norm(probe)
    )
    assert found["push"] == pytest.approx(np.linalg.norm(pull))
    assert found["share"] == sum(uid in asked for uid in chosen) / 16
    assert found["log_perplexity"] == pytest.approx(now)
    assert found["drift"] == 0
    assert found["path"] == pytest.approx(2e-3)

    # Nothing that the step did afterwards is read.
    taught = {"caption": 1, "colour": 1}
    for after in ("train", "evaluate", "prune"):
        shutil.rmtree(step / after)
    steps = [study_pairs.Stored(run / "steps" / f"{n}", int(n[0])) for n in ("1-llava", "2-m3it")]
    train = {"learning_rate": 2e-3, "epochs": 1, "batch_size": 16, "accumulate": 1}
    again = study_pairs.predictors_of(steps, taught, train)
    assert {**again["colour"], "level": scores[1][1]} == found


def test_the_same_command_again_makes_nothing_anew(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file: file.stat().st_mtime_ns for file in runs.rglob("DONE")}
    capsys.readouterr()
    assert study.main(["run", str(runs), "--reduced"]) == 0
    assert {file: file.stat().st_mtime_ns for file in runs.rglob("DONE")} == before
    assert capsys.readouterr().out == ""


def test_a_run_that_another_process_makes_is_passed_over(
    reduced: study_plan.Plan, tmp_path: Path
) -> None:
    (cell,) = reduced.cells((), ("random",), ())
    with study_runs.claimed(tmp_path / cell.name) as mine:
        assert mine
        assert study_runs.make_all(reduced, [cell], tmp_path, Notice()) == []
        with study_runs.claimed(tmp_path / cell.name) as again:
            assert not again
    assert not (tmp_path / cell.name / "steps").exists()


def test_every_run_of_the_plan_has_a_valid_recipe() -> None:
    plan = study_plan.read_plan()
    cells = plan.cells((), (), ())
    for cell in cells:
        recipe = load_recipe(study_plan.BASE, plan.overrides(cell, Path("runs")))
        assert recipe.output_dir == Path("runs") / cell.name
    methods = {row.way for row in cells}
    used = {name for table in plan.tables for name in (*table.ways, *table.against)}
    assert used == methods == plan.ways.keys()
    first = plan.tables[0]
    assert first.seeds == 5
    assert {plan.primary, "random", "sequential", "multitask"} <= set(first.ways)
    assert len(plan.cells(["main"], ("random", "adapt-inf"), (0, 3))) == 4


def test_the_page_of_results_is_that_of_its_numbers() -> None:
    numbers, page = ROOT / "docs/results.json", ROOT / "docs/results.md"
    assert numbers.exists() == page.exists()
    if page.exists():
        assert page.read_text() == study_pages.page_of(json.loads(numbers.read_text()))


def test_the_best_recipe_is_what_the_results_say() -> None:
    results = json.loads((ROOT / "docs/results.json").read_text())
    plan = study_plan.read_plan()
    [table] = [table for table in results["tables"] if table["name"] == "equal-cost"]
    [row] = [row for row in table["rows"] if row["method"] == plan.primary]
    apart = row["average_accuracy"]["vs_random-equal-cost"]
    assert row["seeds"] == 5
    assert apart["high"] < 0
    for name, way, other in (
        ("floors", "random-floors", "random"),
        ("floors-equal-cost", "random-equal-cost-floors", "random-equal-cost"),
    ):
        [table] = [table for table in results["tables"] if table["name"] == name]
        [row] = [row for row in table["rows"] if row["method"] == way]
        assert row["seeds"] == 5
        assert row["average_accuracy"][f"vs_{other}"]["low"] > 0
    best = load_recipe(ROOT / "configs/best.yaml")
    told = plan.ways["random-equal-cost-floors"]
    assert told == {
        "select.method": best.select.method,
        "select.budget": best.select.budget,
        "select.skill_floor": best.select.skill_floor,
    }
    trains_as_the_study(best)


def test_the_recipe_of_rehearsal_is_what_was_tried() -> None:
    results = json.loads((ROOT / "docs/results.json").read_text())
    [table] = [table for table in results["tables"] if table["name"] == "rehearsal"]
    [row] = [row for row in table["rows"] if row["method"] == "sequential-rehearsed-floors"]
    assert row["seeds"] == 5
    assert row["average_accuracy"]["vs_sequential-equal-cost"]["low"] > 0
    recipe = load_recipe(ROOT / "configs/rehearsal.yaml")
    assert study_plan.read_plan().ways["sequential-rehearsed-floors"] == {
        "select.method": recipe.select.method,
        "select.budget": recipe.select.budget,
        "select.skill_floor": recipe.select.skill_floor,
        "rehearse.rows": recipe.rehearse.rows,
    }
    trains_as_the_study(recipe)


def trains_as_the_study(recipe: Recipe) -> None:
    base = load_recipe(study_plan.BASE)
    for section in ("adapter", "train", "model"):
        assert getattr(recipe, section) == getattr(base, section)


def test_unknown_names_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert study.main(["run", str(tmp_path), "--methods", "adapt-ing"]) == 2
    assert "did you mean 'adapt-inf'?" in capsys.readouterr().err
    assert study.main(["tables", str(tmp_path)]) == 2
    assert "no run of the study is finished" in capsys.readouterr().err


def test_rare_skills_follow_from_the_counts_of_the_world() -> None:
    # 7,850 rows of 14 skills: fewer than 280.4 each. Those of two datasets count together.
    assert study_plan.rare_skills("embedded") == ["both", "empty", "more", "parity", "story"]
    assert study_plan.rare_skills("balanced") == []


def test_an_interval_is_students() -> None:
    # Mean 2, standard deviation 1, n = 3: half width 4.3027 / sqrt(3).
    assert study_results.interval([1.0, 2.0, 3.0]) == {"mean": 2.0, "low": -0.484, "high": 4.484}
    for few in ([1.0], [0.5, 1.5]):
        assert study_results.interval(few) == {"mean": 1.0, "low": None, "high": None}


def test_processor_seconds_of_choosing_and_training() -> None:
    def stages(**seconds: float) -> dict[str, object]:
        return {"stages": {name: {"cpu_seconds": value} for name, value in seconds.items()}}

    steps = [
        stages(evaluate=9.0),
        stages(ingest=1.0, glance=2.0, featurize=10.0, select=1.0, train=5.0, prune=0.5),
        stages(select=0.25, train=5.0, prune=7.0),
    ]
    assert study_results.cpu_seconds(steps) == (13.75, 10.0)


def test_variants_are_held_against_the_primary_method(figures: Callable[..., dict]) -> None:
    of_parts = figures(2, ["random", "adapt-inf"], random=[1, 1], adapt_inf=[2, 3], joined=[9, 9])
    told = [(a["method"], a["against"], a["figure"]) for a in of_parts["answers"]]
    assert told == [("joined", "adapt-inf", figure) for figure in study_results.ASKED]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict]:
    """Results of a table of which the averages by way and seed are given; all else is alike."""

    def of(seeds: int, against: Sequence[str] = ("random",), **averages: list[float]) -> dict:
        ways = [way.replace("_", "-") for way in averages]
        table = study_plan.Table("t", "T", "budget", "main", seeds, against, ways)
        plan = replace(study_plan.read_plan(), tables=[table])

        def ended(folder: Path, world: str) -> study_results.Ended:
            way, seed = folder.name.rsplit("-", 1)
            same = dict.fromkeys(study_results.SIGNS, 1.0)
            average = float(averages[way.replace("-", "_")][int(seed)])
            return study_results.Ended({**same, "average_accuracy": average}, {"digit": average})

        monkeypatch.setattr(study_results, "ended", ended)
        monkeypatch.setattr(study_results, "are_sealed", lambda folder: True)
        monkeypatch.setattr(study_results, "_pool", lambda book, table: None)
        return study_results.results_of(plan, tmp_path)

    return of


def test_differences_are_paired_and_answered(figures: Callable[..., dict]) -> None:
    # Better by 2, 3 and 4 points: 3 ± 2.484, though the seeds themselves lie 40 points apart.
    better = figures(3, random=[40.0, 60.0, 80.0], adapt_inf=[42.0, 63.0, 84.0])
    row = better["summary"][1]["average_accuracy"]
    assert row["vs_random"] == {"mean": 3.0, "low": 0.516, "high": 5.484}
    assert row["values"] == {"0": 42.0, "1": 63.0, "2": 84.0}
    assert better["summary"][0]["average_accuracy"]["vs_random"] is None
    assert [answer["answer"] for answer in better["answers"]] == ["yes", "no"]
    assert better["losses"] == []
    [bill] = better["bill"]
    assert bill == {"method": "adapt-inf", "seeds": 3, "mean": 1, "low": 1, "high": 1, "kept": True}

    # -3, +1 and -1: worse on average, and nobody knows.
    worse = figures(3, random=[40.0, 60.0, 80.0], adapt_inf=[37.0, 61.0, 79.0])
    assert worse["answers"][0]["answer"] == "no"
    assert worse["answers"][0]["why"] == "the interval holds 0"
    (loss,) = worse["losses"]
    assert (loss["method"], loss["figure"], loss["mean"]) == ("adapt-inf", "average_accuracy", -1.0)
    assert not loss["beyond_chance"]

    sure = figures(3, random=[40.0, 60.0, 80.0], adapt_inf=[38.0, 57.0, 76.0])
    assert sure["answers"][0]["why"] == "worse"
    assert sure["losses"][0]["beyond_chance"]
    page = study_pages.page_of(sure)
    assert "| T | budget | adapt-inf | random | final average accuracy | -3.0 ± 2.5 | no |" in page
    assert "| T | adapt-inf | final average accuracy | random | -3.0 ± 2.5 | yes |" in page
    assert "| digit | 60.0 | 57.0 | -3.0 ± 2.5 |" in page
