from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from adaptinf.data.world.drawing import Digits
from adaptinf.data.world.formats import question_in
from adaptinf.data.world.skills import SKILLS, Source
from adaptinf.errors import UserError

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import study_forecast  # noqa: E402
import study_forecast_page  # noqa: E402
import study_pairs  # noqa: E402
import study_plan  # noqa: E402
import study_predictors as known  # noqa: E402


def gradients(seed: int, rows: int, dim: int = 5) -> known.Gradients:
    rng = np.random.default_rng(seed)
    units = rng.normal(size=(rows, dim))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    return known.Gradients(units.astype(np.float16), rng.random(rows).astype(np.float32) * 9)


def test_conflicts_and_push_are_those_of_a_loop_over_rows() -> None:
    selected, skill = gradients(0, 7), gradients(1, 4)

    def added(rows: known.Gradients) -> list[float]:
        total = [0.0] * 5
        for unit, norm in zip(rows.units.tolist(), rows.norms.tolist(), strict=True):
            total = [sum_ + norm * value for sum_, value in zip(total, unit, strict=True)]
        return total

    def dot(one: list[float], other: list[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    def length(one: list[float]) -> float:
        return math.sqrt(dot(one, one))

    pull, probe = added(selected), added(skill)
    cosines = [dot(unit, probe) / length(probe) for unit in selected.units.tolist()]
    assert 0 < sum(cosine < 0 for cosine in cosines) < 7
    assert known.conflict(selected.sum(), skill.sum()) == pytest.approx(
        -dot(pull, probe) / length(pull) / length(probe)
    )
    assert known.row_conflicts(selected, skill.sum()) == pytest.approx(
        (-sum(cosines) / 7, sum(cosine < 0 for cosine in cosines) / 7)
    )
    assert known.push(selected.sum()) == pytest.approx(length(pull))


def test_signs_of_conflict() -> None:
    # One strong row along x, two weak ones against it; the skill's gradient points along x.
    units = np.array([[1, 0], [-1, 0], [-1, 0]], np.float16)
    selected = known.Gradients(units, np.array([4, 1, 1], np.float32))
    skill = np.array([2.0, 0.0])
    assert known.conflict(selected.sum(), skill) == -1
    assert known.row_conflicts(selected, skill) == pytest.approx((1 / 3, 2 / 3))
    assert known.push(selected.sum()) == 2
    assert known.conflict(selected.sum(), -skill) == 1
    assert known.conflict(selected.sum(), np.zeros(2)) == 0


def test_replay_counts_rows_and_steps() -> None:
    steps = [["a", "b"], ["a", "a"], ["c", "b", "c", "c"]]
    assert known.replay(steps, "b") == (0.25, 0)
    assert known.replay(steps, "a") == (0, 1)
    assert known.replay(steps, "d") == (0, 3)


def test_path_is_the_rate_times_whole_steps() -> None:
    # 18 batches an epoch; two and a half epochs of three batches are eight steps.
    assert known.path(280, rate=2e-3, epochs=5, rows_per_step=16) == pytest.approx(0.18)
    assert known.path(9, rate=1, epochs=2.5, rows_per_step=3) == 8


def test_familiarity_is_a_rise_and_a_level() -> None:
    assert known.familiarity(np.array([2.0, 1.0]), np.array([0.5, 1.0])) == (0.75, 1.5)


def test_the_wording_tells_the_skill_of_every_row_of_llava() -> None:
    source = Source(np.random.default_rng(0), Digits.load(), held_out=False)
    for skill in ("caption", "colour", "place", "larger"):
        for _ in range(20):
            question = question_in("llava", SKILLS[skill](source))
            for text in (question, f"<image>\n{question}", f"Tell me: {question}"):
                row = {"uid": "u", "dataset": "llava", "skill": None, "turns": [{"text": text}]}
                assert study_pairs.skill_of(row) == skill
    row = {"uid": "u", "dataset": "minigpt4", "skill": None, "turns": [{"text": "Describe."}]}
    assert study_pairs.skill_of(row) == "story"
    assert study_pairs.skill_of({**row, "skill": "digit"}) == "digit"
    with pytest.raises(UserError, match="cannot be told"):
        study_pairs.skill_of({**row, "dataset": "llava"})


class Kept(study_pairs.Stored):
    """A step of which two-dimensional gradients are given, and the log perplexity of its rows."""

    def gradients(self) -> known.Gradients:
        return known.Gradients(np.eye(2)[[0, 1, 1, 0]], np.array([1.0, 2.0, 3.0, 4.0]))


def kept(number: int, selected: list[str], **log_perplexity: float) -> Kept:
    step = Kept(Path("nowhere"), number)
    rows = [
        {"uid": uid, "dataset": "d", "skill": uid[0], "arrived": arrived}
        for uid, arrived in {"a1": 1, "a2": 1, "b1": 2, "a3": 3}.items()
    ]
    vars(step).update(_pool=rows, selected=selected, log_perplexity=log_perplexity)
    return step


def test_predictors_of_a_third_step() -> None:
    steps = [
        kept(1, ["a1"], a1=9.0, a2=9.0),
        kept(2, ["a2", "b1"], a1=2.0, a2=3.0, b1=4.0),
        kept(3, ["b1", "a3"], a1=2.5, a2=4.5, b1=1.0, a3=7.0),
    ]
    train = {"learning_rate": 0.5, "epochs": 3, "batch_size": 1, "accumulate": 2}
    found = study_pairs.predictors_of(steps, {"a": 1, "b": 2, "c": 1}, train)
    # Rows a1, a2: gradients (1, 0), (0, 2); a3, which has just come, is no probe of its skill.
    # Selected b1 and a3: (0, 3) and (4, 0). Step 2 was the first to score what step 1 taught.
    probe = math.sqrt(5)
    assert found["a"] == pytest.approx(
        {
            **{"conflict": -(4 + 6) / 5 / probe, "row_conflict": -(3 / 2) / probe},
            **{"opposed": 0, "share": 0.5, "since": 0, "push": 5, "path": 1.5},
            **{"drift": 1.0, "log_perplexity": 3.5, "level": math.nan},
        },
        nan_ok=True,
    )
    assert (found["b"]["drift"], found["b"]["log_perplexity"]) == (0, 1)
    assert (found["c"]["share"], found["c"]["since"], found["c"]["push"]) == (0, 3, 5)
    unknown = [name for name, value in found["c"].items() if math.isnan(value)]
    assert unknown == [*known.PREDICTORS[:3], *known.PREDICTORS[-3:]]


def made_up(seed: int, *, told: bool, ways: int = 3, seeds: int = 2) -> list[study_pairs.Pair]:
    """Pairs whose drop is a line of share, push and level (``told``), or of nothing."""
    rng = np.random.default_rng(seed)
    pairs = []
    for run in (f"way{way}-{number}" for way in range(ways) for number in range(seeds)):
        for _ in range(20):
            values = dict(zip(known.PREDICTORS, rng.normal(size=10).tolist(), strict=True))
            values["path"] = 0.18
            line = 3 - 20 * values["share"] + 10 * values["push"] + 5 * values["level"]
            drop = line if told else float(rng.normal())
            pairs.append(study_pairs.Pair(run, int(run[-1]), 2, "digit", values, drop))
    return pairs


@pytest.fixture
def few_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sets that this asks about, so that few models are fitted."""
    asked = ("all", *study_forecast.BESIDE, "replay alone", "conflict alone")
    monkeypatch.setattr(study_forecast, "SETS", {s: study_forecast.SETS[s] for s in asked})
    monkeypatch.setattr(study_forecast, "DRAWS", 50)


@pytest.mark.usefixtures("few_sets")
def test_a_line_is_found_again_and_told_by_what_carries_it() -> None:
    found = study_forecast.forecast_of(made_up(0, told=True))
    assert found["models"] == ["ridge", "trees"]
    assert found["pairs"] == 120
    assert found["constant"] == ["path"]
    assert set(found["r2"]["all"]["ridge"]) == {"runs", "seeds", "ways"}
    assert min(found["r2"]["all"]["ridge"].values()) > 0.99
    # The shares of the variance are 400, 100 and 25 of 525.
    assert found["r2"]["replay alone"]["ridge"]["runs"] == pytest.approx(400 / 525, abs=0.1)
    assert found["r2"]["conflict alone"]["ridge"]["runs"] < 0.05
    assert found["mean_drop"]["runs"] < 0
    assert found["coefficients"]["path"] == 0
    assert found["coefficients"]["share"] == pytest.approx(-20, rel=0.15)
    low, high = found["interval"]
    assert low <= found["r2"]["all"]["trees"]["runs"] <= high
    # The push is known by gradients alone.
    assert all(gain["gain"] > 0.05 for gain in found["gains"])


@pytest.mark.usefixtures("few_sets")
def test_nothing_is_told_of_drops_by_chance() -> None:
    found = study_forecast.forecast_of(made_up(1, told=False))
    assert found["models"] == ["ridge"]
    assert not found["holds"]
    assert max(found["r2"]["all"]["ridge"].values()) < 0.1
    page = study_forecast_page.page_of({"runs": 6, "missing": ["main/a-0"], **found})
    assert "**No**, by the plan's bar of 0.5" in page
    assert "trees were not tried" in page
    assert "6 of 7 runs with features are finished, of 2 seeds: 120 pairs." in page


@pytest.mark.usefixtures("few_sets")
def test_what_is_unknown_is_filled_and_told() -> None:
    pairs = made_up(0, told=True, ways=2, seeds=1)
    pairs[0].predictors["conflict"] = math.nan  # type: ignore[index]
    found = study_forecast.forecast_of(pairs)
    assert found["unknown"] == 1
    assert found["r2"]["all"]["ridge"]["seeds"] is None
    assert found["r2"]["all"]["ridge"]["runs"] > 0.99
    assert found["without"] is None
    assert "In 1 pairs" in study_forecast_page.page_of({"runs": 2, "missing": [], **found})


@pytest.mark.parametrize("by", ["runs", "seeds", "ways"])
def test_what_is_told_of_a_pair_comes_from_other_runs_seeds_or_ways(by: str) -> None:
    table = study_forecast.Table(made_up(2, told=True))
    # Runs differ, so that it matters which of them are fitted to.
    table.drop += 30 * np.unique(table.labels["runs"], return_inverse=True)[1]
    own = table.labels[by] == table.labels[by][0]
    columns = [known.PREDICTORS.index(name) for name in ("share", "since", "level")]
    fitted = study_forecast.ridge().fit(table.x[~own][:, columns], table.drop[~own])
    expected = fitted.predict(table.x[own][:, columns])
    told = table.left_out(study_forecast.ridge(), ["replay", "level"], by)
    assert {"runs": 20, "seeds": 60, "ways": 40}[by] == own.sum()
    np.testing.assert_allclose(told[own], expected)


def test_large_drops_and_warnings_are_counted() -> None:
    counted = study_forecast._large(np.array([10.0, 30.0, 2.0]), np.array([3.0, 12.0, 10.0]))
    assert counted == {"points": 10.0, "drops": 2, "warnings": 2, "right": 1}


def test_runs_with_features_at_every_step() -> None:
    cells = study_forecast.watched_cells(study_plan.read_plan())
    ways = {cell.way for cell in cells}
    assert len(cells) == 10 * 5 + 2 * 3
    assert {"adapt-inf", "mean-rank", "perplexity", "random-watched"} <= ways
    assert not ways & {"random", "sequential", "random-replay", "multitask"}


def test_no_runs_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert study_forecast.main([str(tmp_path), "--out", str(tmp_path / "forecast")]) == 2
    assert "two finished runs" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_page_of_the_forecast_is_that_of_its_numbers() -> None:
    numbers, page = ROOT / "docs/forecast.json", ROOT / "docs/forecast.md"
    assert page.read_text() == study_forecast_page.page_of(json.loads(numbers.read_text()))
