"""The accuracy matrix and its measures, against numbers worked out by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from adaptinf.errors import UserError
from adaptinf.evaluation import AccuracyMatrix, BenchmarkColumn


def column(name: str, learned_at: int | None, skill: str | None = None) -> BenchmarkColumn:
    return BenchmarkColumn(name, skill or name, "exact", 200, learned_at)


# Three steps; two benchmarks learned at step 1, one at 2, one at 3, one never.
#            a     b     c     d     e
#   base    10    20    30     0    50
#   1       80*   60*   40     2    48
#   2       70    90    85*    6    52
#   3       75    50    65    95*   44
STEPS = ["base", "1-one", "2-two", "3-three"]
COLUMNS = [column("a", 1), column("b", 1), column("c", 2), column("d", 3), column("e", None)]
SCORES = [[10, 20, 30, 0, 50], [80, 60, 40, 2, 48], [70, 90, 85, 6, 52], [75, 50, 65, 95, 44]]


@pytest.fixture
def matrix() -> AccuracyMatrix:
    return AccuracyMatrix(STEPS, COLUMNS, SCORES)


def test_averages(matrix: AccuracyMatrix) -> None:
    assert matrix.average_accuracy() == pytest.approx((75 + 50 + 65 + 95 + 44) / 5)
    assert matrix.average_accuracy(0) == pytest.approx(22.0)
    assert matrix.average_seen_accuracy(0) is None
    assert matrix.average_seen_accuracy(1) == pytest.approx((80 + 60) / 2)
    assert matrix.average_seen_accuracy(2) == pytest.approx((70 + 90 + 85) / 3)
    assert matrix.average_seen_accuracy() == pytest.approx((75 + 50 + 65 + 95) / 4)
    assert matrix.mean_average_accuracy() == pytest.approx((70 + 245 / 3 + 71.25) / 3)
    assert matrix.learning_accuracy() == pytest.approx((80 + 60 + 85 + 95) / 4)


def test_transfer(matrix: AccuracyMatrix) -> None:
    # Since learned: a 75 - 80, b 50 - 60, c 65 - 85; d was learned last.
    assert matrix.backward_transfer() == pytest.approx((-5 - 10 - 20) / 3)
    # Just before learning, against the base: c 40 - 30, d 6 - 0.
    assert matrix.forward_transfer() == pytest.approx((10 + 6) / 2)


def test_forgetting(matrix: AccuracyMatrix) -> None:
    # Best of the steps since learning and before the last: a 80, b 90, c 85.
    assert matrix.forgetting("max-drop") == pytest.approx((5 + 40 + 20) / 3)
    assert matrix.forgetting("end-drop") == pytest.approx((5 + 10 + 20) / 3)
    # Deepest falls: a 80 -> 70 at step 2, though mended in part later; b 90 -> 50; c 85 -> 65.
    assert matrix.worst_drop() == pytest.approx((10 + 40 + 20) / 3)
    # Falls below the best so far: a 10/80 and 5/80, b 0/60 and 40/90, c 20/85.
    assert matrix.forgetting_rate() == pytest.approx(
        100 * (10 / 80 + 5 / 80 + 0 + 40 / 90 + 20 / 85) / 5
    )
    assert matrix.retention() == pytest.approx(44 - 50)


def test_relative_gain(matrix: AccuracyMatrix) -> None:
    reference = {"a": 100.0, "b": 50.0, "c": 65.0, "d": 190.0, "e": 88.0}
    assert matrix.relative_gain(reference) == pytest.approx((75 + 100 + 100 + 50 + 50) / 5)
    assert matrix.relative_gain(reference | {"d": 0.0}) is None
    assert matrix.best_by_skill() == {"a": 80, "b": 90, "c": 85, "d": 95, "e": 52}
    with pytest.raises(UserError, match="no reference for skill 'e'"):
        matrix.relative_gain({"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0})


def test_skills_are_averaged_over_their_benchmarks_before_ratios_are_taken() -> None:
    columns = [column("a1", 1, "a"), column("a2", 1, "a"), column("b", 2)]
    matrix = AccuracyMatrix(["base", "1", "2"], columns, [[0, 0, 0], [90, 30, 10], [20, 40, 50]])
    assert matrix.relative_gain({"a": 60, "b": 50}) == pytest.approx((50 + 100) / 2)
    assert matrix.forgetting_rate() == pytest.approx(50.0)  # skill a: 60 -> 30
    assert matrix.best_by_skill() == {"a": 60, "b": 50}


def test_paths(matrix: AccuracyMatrix) -> None:
    a, b, c, d, e = matrix.per_benchmark()
    assert (a.first, a.learned, a.best, a.last, a.drop) == (10, 80, 80, 75, 5)
    assert (b.first, b.learned, b.best, b.last, b.drop) == (20, 60, 90, 50, 40)
    assert (c.learned_at, c.drop) == (2, 20)
    assert (d.learned, d.best, d.last, d.drop) == (95, 95, 95, None)
    assert (e.first, e.learned_at, e.learned, e.best, e.last, e.drop) == (50, *[None] * 3, 44, None)
    assert matrix.forgetting() == pytest.approx(np.mean([p.drop for p in (a, b, c)]))


squares = st.integers(2, 6).flatmap(
    lambda size: arrays(np.float64, (size + 1, size), elements=st.floats(0, 100, width=16))
)


@given(squares)
def test_identities_of_the_square_case(scores: np.ndarray) -> None:
    """One benchmark per step, in order: the textbook formulas, written as loops."""
    steps = scores.shape[1]
    columns = [column(f"b{i}", i) for i in range(1, steps + 1)]
    matrix = AccuracyMatrix([f"s{row}" for row in range(steps + 1)], columns, scores)
    a = {(t, i): scores[t, i - 1] for t in range(steps + 1) for i in range(1, steps + 1)}

    final = matrix.average_seen_accuracy()
    assert final == pytest.approx(sum(a[steps, i] for i in range(1, steps + 1)) / steps)
    assert final == pytest.approx(matrix.average_accuracy())
    backward = sum(a[steps, i] - a[i, i] for i in range(1, steps)) / (steps - 1)
    assert matrix.backward_transfer() == pytest.approx(backward)
    forward = sum(a[i - 1, i] - a[0, i] for i in range(2, steps + 1)) / (steps - 1)
    assert matrix.forward_transfer() == pytest.approx(forward)
    falls = [max(a[t, i] for t in range(i, steps)) - a[steps, i] for i in range(1, steps)]
    assert matrix.forgetting("max-drop") == pytest.approx(sum(falls) / (steps - 1))
    worst = [
        max(a[t, i] - a[u, i] for t in range(i, steps) for u in range(t + 1, steps + 1))
        for i in range(1, steps)
    ]
    assert matrix.worst_drop() == pytest.approx(sum(worst) / (steps - 1))

    assert matrix.forgetting("end-drop") == pytest.approx(-backward)
    assert final - matrix.learning_accuracy() == pytest.approx((steps - 1) / steps * backward)
    assert matrix.worst_drop() >= matrix.forgetting("max-drop") - 1e-9
    assert matrix.forgetting("max-drop") >= matrix.forgetting("end-drop") - 1e-9


def test_what_is_undefined_is_none() -> None:
    base_only = AccuracyMatrix(["base"], [column("a", 1)], [[40.0]])
    assert base_only.average_accuracy() == 40.0
    undefined = {
        name: value for name, value in base_only.measures().items() if "average_acc" not in name
    }
    assert set(undefined) > {"backward_transfer", "forgetting_max_drop", "retention"}
    assert [v for v in undefined.values() if v is not None] == [[None]]  # seen, by step
    assert base_only.best_by_skill() == {"a": 40.0}

    one_step = AccuracyMatrix(["base", "1"], [column("a", 1)], [[40.0], [60.0]])
    assert one_step.learning_accuracy() == 60.0
    assert one_step.backward_transfer() is None
    assert one_step.forward_transfer() is None
    assert one_step.forgetting("end-drop") is None


def test_a_run_under_way_ignores_what_later_steps_will_teach() -> None:
    scores = [[10, 10, 50], [80, 20, 40], [60, 90, 45]]
    whole = AccuracyMatrix(
        ["base", "1", "2"], [column("a", 1), column("b", 2)], np.array(scores)[:, :2]
    )
    part = AccuracyMatrix(
        ["base", "1", "2"], [column("a", 1), column("b", 2), column("c", 4)], scores
    )
    assert part.forgetting() == whole.forgetting() == 20.0
    assert part.average_seen_accuracy() == whole.average_seen_accuracy() == 75.0
    assert part.retention() is None
    later = part.per_benchmark()[2]
    assert (later.learned_at, later.learned, later.best, later.drop) == (4, None, None, None)
    assert "c" in part.table()


def test_a_best_of_zero_has_no_rate() -> None:
    matrix = AccuracyMatrix(["base", "1", "2"], [column("a", 1)], [[0], [0], [0]])
    assert matrix.forgetting_rate() is None


def test_json_round_trip(matrix: AccuracyMatrix) -> None:
    intervals = np.stack([np.array(SCORES) - 2.5, np.array(SCORES) + 2.5], axis=-1)
    full = AccuracyMatrix(STEPS, COLUMNS, SCORES, intervals)
    text = full.to_json()
    assert AccuracyMatrix.from_json(text).to_json() == text
    content = json.loads(text)
    assert content["steps"][0] == "base"
    assert content["benchmarks"][4] == {
        "name": "e", "skill": "e", "metric": "exact", "n": 200, "learned_at": None,
    }  # fmt: skip
    assert content["scores"][3][1] == 50
    assert content["intervals"][3][1] == [47.5, 52.5]
    assert content["metrics"]["backward_transfer"] == pytest.approx(-35 / 3)
    assert content["metrics"]["average_seen_accuracy_by_step"][0] is None
    assert json.loads(matrix.to_json())["intervals"] is None


def test_the_matrix_is_read_only(matrix: AccuracyMatrix) -> None:
    with pytest.raises(ValueError, match="read-only"):
        matrix.scores[0, 0] = 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": [[1, 2]]}, "do not fit the names"),
        ({"scores": [[1, 2], [3]]}, "not a full grid"),
        ({"scores": [[1, 2], [3, None]]}, "'b' after step '1'"),
        ({"scores": [[1, math.nan], [3, 4]]}, "'b' after step 'base'"),
        ({"intervals": [[1, 2], [3, 4]]}, "intervals do not fit"),
        ({"steps": ["base", "base"]}, "step named twice"),
        ({"benchmarks": [column("a", 1), column("a", 1)]}, "benchmark named twice"),
        ({"benchmarks": [column("a", 1), column("b", 0)]}, "learned_at of 'b'"),
        ({"benchmarks": []}, "has no benchmark"),
    ],
)
def test_what_is_no_complete_matrix_is_refused(change: dict[str, object], message: str) -> None:
    fields = {
        "steps": ["base", "1"],
        "benchmarks": [column("a", 1), column("b", None)],
        "scores": [[1, 2], [3, 4]],
    }
    with pytest.raises(UserError, match=message):
        AccuracyMatrix(**(fields | change))


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"steps": ["base"]}', '{"benchmarks": [{"name": 1}]}']
)
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="not an accuracy matrix"):
        AccuracyMatrix.from_json(text)


def test_wrong_arguments(matrix: AccuracyMatrix) -> None:
    with pytest.raises(ValueError, match="rows are 0 to 3"):
        matrix.average_accuracy(4)
    with pytest.raises(ValueError, match="rows are 0 to 3"):
        matrix.average_seen_accuracy(-1)
    with pytest.raises(UserError, match="did you mean 'max-drop'"):
        matrix.forgetting("maxdrop")


def test_means_are_over_accuracies_and_say_what_they_leave_out() -> None:
    columns = [
        BenchmarkColumn("a", "s", "exact", 9, 1),
        BenchmarkColumn("likeness", "s", "official rules", 9, 1, "ROUGE-L"),
        BenchmarkColumn("b", "t", "exact", 9, None),
        BenchmarkColumn("other", "o", "official rules", 9, None, "ROUGE-L"),
    ]
    scores = [[10, 1, 50, 7], [80, 90, 40, 8], [70, 20, 45, 9]]
    matrix = AccuracyMatrix(["base", "1-x", "2-y"], columns, scores)
    assert matrix.left_out == ["likeness", "other"]
    assert matrix.average_accuracy() == 57.5
    assert matrix.average_seen_accuracy(1) == 80
    assert matrix.learning_accuracy() == 80
    assert matrix.backward_transfer() == -10
    assert matrix.forgetting() == 10
    assert matrix.worst_drop() == 10
    assert matrix.retention() == -5
    assert matrix.forgetting_rate() == 12.5
    assert matrix.best_by_skill() == {"s": 80, "t": 45}
    assert [path.drop for path in matrix.per_benchmark()] == [10, 70, None, None]
    again = AccuracyMatrix.from_json(matrix.to_json())
    assert again.left_out == matrix.left_out
    lines = matrix.table().splitlines()
    assert lines[5].split() == ["average", "30.0", "60.0", "57.5", "10.0"]
    assert "the average leaves out, being no accuracies: likeness, other" in lines


def test_of_similarities_alone_the_first_kind_is_averaged() -> None:
    columns = [
        BenchmarkColumn("a", "s", "official rules", 9, None, "ROUGE-L"),
        BenchmarkColumn("b", "s", "adapt-inf rules", 9, None, "BLEU-4 over characters"),
    ]
    matrix = AccuracyMatrix(["base"], columns, [[30, 90]])
    assert (matrix.average_accuracy(), matrix.left_out) == (30, ["b"])
