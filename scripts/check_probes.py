"""How near a probe comes to the score of all questions: on recorded answers, and on made-up ones.

Every benchmark of the run is asked in part, over and over with other seeds: by the probe that a run
would choose, and by as many questions drawn at random. What each says of every later step is held
against the score of all questions. A run chooses by its base model; since that of the small world
knows next to nothing of the skills, a model that knows some is also taken for it: that of step 1.
Made-up answers are of a benchmark as large as GQA, of which the base model knows 60 % and a step
later answers a part anew; models that were trained on much before lie there rather.
``alike`` is how far the scores of single questions then and later go together (mean correlation).
``held`` is how often the probe's interval, which also covers other questions than the benchmark's,
has that score.

``python scripts/check_probes.py runs/quickstart`` (a smaller trial: ``--seeds 50``).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adaptinf.evaluation.answered import read_matrix, step_scores
from adaptinf.evaluation.probes import choose_probe
from pages import markdown, put

SIZES = (25, 50, 100)
INTERVALS = 20
LARGE, KNOWN, PROBED = 12_578, 0.6, 500
CHANGED = (0.1, 0.25, 0.5)

HEADS = {
    "chosen by": "chosen by",
    "alike": "correlation with later answers",
    "asked": "asked, of all",
    "random": "error of a random part, points",
    "probe": "error of a probe, points",
    "worth": "random questions for the same error",
    "largest": "largest error of a probe, points",
    "held": "intervals that hold the score, %",
}


@dataclass(frozen=True, slots=True)
class Recorded:
    """Scores in percent of all questions of a benchmark: those to choose by, and later ones."""

    base: np.ndarray
    steps: list[np.ndarray]

    @property
    def correlations(self) -> list[float]:
        """Of what it is chosen by with each later step, where both differ among questions."""
        return [
            float(np.corrcoef(self.base, scores)[0, 1])
            for scores in self.steps
            if self.base.std() and scores.std()
        ]


def recorded(runs: Sequence[Path], first: int) -> Iterator[Recorded]:
    """Every benchmark of the runs, from that row of the matrix on."""
    for run in runs:
        matrix = read_matrix(run)
        for column in matrix.benchmarks:
            rows = [
                np.array(list(step_scores(run, matrix.steps, row, column.name).values()))
                for row in range(first, len(matrix.steps))
            ]
            yield Recorded(rows[0], rows[1:])


def made_up(changed: float) -> Iterator[Recorded]:
    """Benchmarks of which so large a part is answered anew, as often right as before."""
    for seed in range(5):
        draw = np.random.default_rng(seed)
        base, anew = (100.0 * (draw.random(LARGE) < KNOWN) for _ in range(2))
        yield Recorded(base, [np.where(draw.random(LARGE) < changed, anew, base)])


def measured(name: str, benchmarks: Sequence[Recorded], size: int, seeds: int) -> dict[str, object]:
    """A line of the table: errors are root mean squares over benchmarks, steps and seeds."""
    drawn: list[float] = []
    probed: list[float] = []
    held: list[bool] = []
    for one in benchmarks:
        number = len(one.base)
        names = [str(place) for place in range(number)]
        for seed in range(seeds):
            part = np.random.default_rng(seed).choice(number, size, replace=False)
            probe = choose_probe(one.base / 100, [""] * number, names, size, seed)
            for scores in one.steps:
                asked = scores[probe.places]
                drawn.append(scores[part].mean() - scores.mean())
                probed.append(probe.estimate(asked) - scores.mean())
                if seed < INTERVALS:
                    interval = probe.interval(asked, seed)
                    held.append(interval.low - 1e-9 <= scores.mean() <= interval.high + 1e-9)
    random, stood = (float(np.sqrt(np.mean(np.square(each)))) for each in (drawn, probed))
    most = max(len(one.base) for one in benchmarks)
    alike = np.mean([value for one in benchmarks for value in one.correlations])
    return {
        "chosen by": name,
        "alike": f"{alike:.2f}",
        "asked": f"{size:,} of {most:,}",
        "random": f"{random:.2f}",
        "probe": f"{stood:.2f}",
        "worth": round(_as_many(random / stood, size, most)),
        "largest": f"{np.abs(probed).max():.1f}",
        "held": f"{100 * np.mean(held):.1f}",
    }


def _as_many(ratio: float, size: int, total: int) -> float:
    """Random questions whose mean errs so many times less than that of ``size`` of them.

    The error of ``n`` out of ``N`` goes with the root of ``1 / n - 1 / N``.
    """
    return 1 / ((1 / size - 1 / total) / ratio**2 + 1 / total)


def main() -> None:
    """Print the table, and keep it where the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="all questions asked")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="keep the numbers as JSON")
    parser.add_argument("--page", type=Path, help="put the table on this page")
    arguments = parser.parse_args()
    lines = []
    for first, name in enumerate(("base model", "step 1")):
        benchmarks = list(recorded(arguments.runs, first))
        lines += [measured(name, benchmarks, size, arguments.seeds) for size in SIZES]
    for changed in CHANGED:
        name = f"made up, {changed:.0%} answered anew"
        lines.append(measured(name, list(made_up(changed)), PROBED, arguments.seeds))
    text = markdown(HEADS, lines)
    print(text)
    if arguments.out:
        told = {
            "runs": [run.name for run in arguments.runs],
            "seeds": arguments.seeds,
            "lines": lines,
        }
        arguments.out.write_text(json.dumps(told, indent=1) + "\n")
    if arguments.page:
        put(arguments.page, str(arguments.out or "check_probes"), text)


if __name__ == "__main__":
    main()
