"""What a run knows of skills: rows that name one, and questions that every step has answered."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from adaptinf.data.images import BadImage, locate
from adaptinf.data.pool import read_pool
from adaptinf.data.sample import IMAGE_MARK
from adaptinf.evaluation.answered import read_matrix, step_scores
from adaptinf.evaluation.matrix import AccuracyMatrix
from adaptinf.report.findings import read_findings

ROWS, QUESTIONS = 60, 200
"""Of each skill, as many are looked at; half of the questions are held out to measure with."""


@dataclass(frozen=True, slots=True)
class Example:
    """A question that is known to be of a skill.

    ``scores`` are those of every step, percent, the base model first; None of a training row.
    """

    skill: str
    text: str
    images: tuple[Path, ...]
    scores: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Experience:
    """Examples to learn from and to measure with; ``steps`` are names, the base model first."""

    steps: tuple[str, ...]
    rows: list[Example]
    learned: list[Example]
    held_out: list[Example]


def experience_of(run: Path) -> Experience:
    """Read it from the files of a run; without benchmarks there are no questions.

    Raises:
        UserError: the run has no matrix, or a file that no run writes.
    """
    matrix, roots = read_matrix(run), read_findings(run).image_roots
    learned, held_out = [], []
    for benchmark in matrix.benchmarks:
        root = roots.get(f"benchmark:{benchmark.name}")
        questions = _questions(run, matrix, benchmark.name, benchmark.skill, root) if root else []
        learned += questions[0:QUESTIONS:2]
        held_out += questions[1:QUESTIONS:2]
    return Experience(tuple(matrix.steps), _rows(run, matrix, roots), learned, held_out)


def first_questions(run: Path) -> list[Example]:
    """The first question of each benchmark that the base model was asked.

    Raises:
        UserError: see ``experience_of``.
    """
    matrix, roots = read_matrix(run), read_findings(run).image_roots
    found = []
    for benchmark in matrix.benchmarks:
        file, root = (
            _answers(run, matrix, 0, benchmark.name),
            roots.get(f"benchmark:{benchmark.name}"),
        )
        if file.is_file() and root:
            with file.open(encoding="utf-8") as lines:
                row = json.loads(next(lines, "{}"))
            paths = _paths(root, row.get("images") or ())
            if row and paths is not None:
                text = row["prompt"].replace(IMAGE_MARK, "")
                found.append(Example(benchmark.skill, text, paths))
    return found


def _questions(
    run: Path, matrix: AccuracyMatrix, name: str, skill: str, root: Path
) -> list[Example]:
    """Questions of a benchmark that every step was asked."""
    if any(not _answers(run, matrix, row, name).is_file() for row in range(len(matrix.steps))):
        return []  # a column that came through lmms-eval
    scores = [step_scores(run, matrix.steps, row, name) for row in range(len(matrix.steps))]
    common = [key for key in scores[0] if all(key in one for one in scores)]
    found = []
    for key in common:
        _, prompt, _, images = json.loads(key)
        paths = _paths(root, images or ())
        if paths is not None:
            text = prompt.replace(IMAGE_MARK, "")
            found.append(Example(skill, text, paths, tuple(one[key] for one in scores)))
    return found


def _answers(run: Path, matrix: AccuracyMatrix, row: int, name: str) -> Path:
    step = matrix.steps[row] if row else "0-base"
    return run / "steps" / step / "evaluate" / name / "predictions.jsonl"


def _rows(run: Path, matrix: AccuracyMatrix, roots: Mapping[str, Path]) -> list[Example]:
    """First questions of rows whose skill can be told, those of the lowest uids of each skill.

    The end of a uid is a digest, so that the lowest are as good as drawn.
    """
    file = run / "steps" / matrix.steps[-1] / "ingest" / "pool.parquet"
    if not file.is_file():
        return []
    pool = read_pool(file)
    uids, datasets, own = (pool.strings(name) for name in ("uid", "dataset", "skill"))
    names = _skills(matrix, datasets)
    taken: Counter[tuple[str, str]] = Counter()
    places, skills = [], []
    for place in sorted(range(len(pool)), key=uids.__getitem__):
        dataset = datasets[place]
        skill = own[place] if own[place] in names.measured else names.of.get(dataset)
        if skill is not None and taken[dataset, skill] < ROWS:
            taken[dataset, skill] += 1
            places.append(place)
            skills.append(skill)
    found = []
    for sample, skill in zip(pool.samples(places), skills, strict=True):
        first = sample.turns[0].text
        paths = _paths(roots.get(sample.dataset), sample.images[: first.count(IMAGE_MARK)])
        if paths is not None:
            found.append(Example(skill, first.replace(IMAGE_MARK, "").strip(), paths))
    return found


@dataclass(frozen=True, slots=True)
class _Skills:
    """Skills that benchmarks measure, and that of datasets whose rows name none.

    A dataset that teaches one benchmark has its skill; one that teaches none stands for itself; of
    one that teaches several it cannot be told.
    """

    measured: frozenset[str]
    of: Mapping[str, str]


def _skills(matrix: AccuracyMatrix, datasets: Iterable[str]) -> _Skills:
    taught = defaultdict(set)
    for benchmark in matrix.benchmarks:
        at = benchmark.learned_at
        if at is not None and at < len(matrix.steps):
            taught[matrix.steps[at].split("-", 1)[1]].add(benchmark.skill)
    of = {}
    for dataset in set(datasets):
        skills = taught.get(dataset, {dataset})
        if len(skills) == 1:
            of[dataset] = next(iter(skills))
    return _Skills(frozenset(benchmark.skill for benchmark in matrix.benchmarks), of)


def _paths(root: Path | None, names: Sequence[str]) -> tuple[Path, ...] | None:
    """Files of images, None unless all are there; names come from data."""
    if root is None:
        return None if names else ()
    try:
        found = tuple(locate(root, name) for name in names)
    except BadImage:
        return None
    return found if all(path.is_file() for path in found) else None
