"""The run in plain words, and each measure with what it means."""

from __future__ import annotations

from dataclasses import dataclass

from adaptinf.evaluation import AccuracyMatrix
from adaptinf.report.wording import percent, points, tenths


@dataclass(frozen=True, slots=True)
class Headline:
    """A number and one line that explains it."""

    title: str
    value: str
    meaning: str


def lead(matrix: AccuracyMatrix) -> str:
    """Two or three sentences: where the run ended, and what it lost most of."""
    steps, columns = len(matrix.steps) - 1, int(matrix.averaged.sum())
    last, base = matrix.average_accuracy(), matrix.average_accuracy(0)
    if steps == 0:
        return f"Only the base model has been scored so far: {percent(base)} on average."
    gain = last - base
    text = (
        f"After {_counted(steps, 'step')} the model scores {percent(last)} on average over "
        f"{_counted(columns, 'benchmark')}, {points(abs(gain))} "
        f"{'more' if gain >= 0 else 'less'} than the base model."
    )
    if matrix.left_out:
        text += f" Averages leave out what is no accuracy: {', '.join(matrix.left_out)}."
    fallen = [path for path in matrix.per_benchmark() if path.drop is not None and path.drop > 0]
    if not fallen:
        return f"{text} No benchmark has fallen below its best since it was learned."
    # Points of an accuracy and of a likeness do not compare.
    alike = [path for path in fallen if path.name not in matrix.left_out] or fallen
    worst = max(alike, key=lambda path: path.drop or 0.0)
    return (
        f"{text} The largest loss is on {worst.name}: {percent(worst.last)} at the end, "
        f"{points(worst.drop)} below its best."
    )


def headlines(matrix: AccuracyMatrix) -> list[Headline]:
    """The four numbers on top of the page."""
    last = len(matrix.steps) - 1
    risked = sum(1 <= at < last for at in matrix.learned[matrix.averaged].tolist())
    base = percent(matrix.average_accuracy(0))
    return [
        Headline(
            "Final average accuracy",
            percent(matrix.average_accuracy()),
            f"Mean over {_averaged(matrix)} after the last step. The base model had {base}.",
        ),
        Headline(
            "Forgetting, max-drop",
            points(matrix.forgetting("max-drop")),
            "How far a benchmark ends below its best since it was learned: mean over "
            f"{_counted(risked, 'benchmark')} that later steps could harm.",
        ),
        Headline(
            "Forgetting, end-drop",
            points(matrix.forgetting("end-drop")),
            "The same, counted from the score right after the step that taught it.",
        ),
        Headline(
            "Backward transfer",
            points(matrix.backward_transfer()),
            "Mean change since a benchmark was learned. Below zero is loss, above zero later "
            "steps helped.",
        ),
    ]


def measures(matrix: AccuracyMatrix) -> list[Headline]:
    """Every other measure that needs no second run."""
    return [
        Headline(
            "Learning accuracy",
            percent(matrix.learning_accuracy()),
            "Mean score right after the step that taught the skill: how well the adapter learns.",
        ),
        Headline(
            "Mean average accuracy",
            percent(matrix.mean_average_accuracy()),
            "Average over the skills taught so far, itself averaged over the steps.",
        ),
        Headline(
            "Forward transfer",
            points(matrix.forward_transfer()),
            "Gain over the base model just before a skill's own data came.",
        ),
        Headline(
            "Worst drop on the way",
            points(matrix.worst_drop()),
            "Deepest fall between any two steps, even where a later step mended it.",
        ),
        Headline(
            "Forgetting rate",
            percent(matrix.forgetting_rate()),
            "Mean fall below the best so far, in percent of it, over skills and later steps.",
        ),
        Headline(
            "Retention",
            points(matrix.retention()),
            "Mean change against the base model on benchmarks that no step teaches.",
        ),
    ]


def cost_sentence(choosing: float, training: float) -> str:
    """What choosing the data cost next to training on it."""
    if training <= 0:
        return ""
    return f"Choosing the data took {tenths(100 * choosing / training)} % of the training time."


def _averaged(matrix: AccuracyMatrix) -> str:
    return "all benchmarks but those left out" if matrix.left_out else "all benchmarks"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
