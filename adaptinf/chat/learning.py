"""Learn to choose the step for a question, and measure on held-out questions how well."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptinf.chat.choice import Best, Chooser, look
from adaptinf.chat.experience import Example, Experience
from adaptinf.data.encoder import Encoder
from adaptinf.data.images import load_image
from adaptinf.evaluation.benchmark import asked
from adaptinf.evaluation.intervals import bootstrap_interval, share_interval

AT_ONCE = 16

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measured:
    """How well questions that were not learned from are sent, in percent of ``questions``.

    ``right``: to a step that is the best on their skill, or not told from it by them (the 95 %
    interval of their paired differences holds 0); ``interval`` is that of ``right``. ``equal``: to
    one with exactly the best score. ``skills``: whose skill is seen. ``unsure``: left to the latest
    step. Then what the answers score: of ``auto``, of the ``latest`` step, and of the step that
    turned out the ``best`` on each skill.
    """

    questions: int
    right: float
    interval: tuple[float, float]
    equal: float
    skills: float
    unsure: float
    auto: float
    latest: float
    best: float

    def json(self) -> dict[str, Any]:
        """For ``choice.json``."""
        return asdict(self)


def learn(
    known: Experience,
    model: Any,
    encoder: Encoder,
    advance: Callable[[int, int], object] = lambda done, total: None,
) -> tuple[Chooser, Measured | None] | None:
    """A chooser, and how well it chooses; None where nothing is known to learn from.

    The best steps that it was measured with are those of the questions that were learned from; the
    chooser has those of all questions.
    """
    taught = [*known.rows, *known.learned]
    if not taught:
        return None
    total = len(taught) + len(known.held_out)
    looks = _looks(taught, model, encoder, lambda done: advance(done, total))
    skills = [example.skill for example in taught]
    best = _best(known, known.learned)
    chooser = Chooser.fit(looks, skills, best, known.steps[-1])
    measured = None
    if known.held_out:
        seen = _looks(known.held_out, model, encoder, lambda n: advance(n + len(taught), total))
        measured = _measure(chooser, known, seen)
    whole = _best(known, [*known.learned, *known.held_out])
    return replace(chooser, best=whole), measured


def _looks(
    examples: Sequence[Example], model: Any, encoder: Encoder, advance: Callable[[int], object]
) -> NDArray[np.float32]:
    found = []
    for start in range(0, len(examples), AT_ONCE):
        some = examples[start : start + AT_ONCE]
        turns = [[asked(example.text, len(example.images))] for example in some]
        images = [[load_image(path) for path in example.images] for example in some]
        found.append(look(model, encoder.encode_prompts(turns, images)))
        advance(start + len(some))
    return np.concatenate(found)


def _best(known: Experience, questions: Sequence[Example]) -> dict[str, Best]:
    """The best step on each skill; the later of several, the latest where nothing measures it."""
    names = {example.skill for example in (*known.rows, *known.learned)}
    best = {name: Best(known.steps[-1], None) for name in names}
    for skill, scores in _by_skill(questions).items():
        means = scores.mean(0)
        step = int(np.flatnonzero(means == means.max())[-1])
        best[skill] = Best(known.steps[step], float(means[step]))
    return best


def _by_skill(questions: Sequence[Example]) -> dict[str, Scores]:
    """Scores [questions, steps] of each skill."""
    found = defaultdict(list)
    for question in questions:
        found[question.skill].append(question.scores)
    return {skill: np.array(rows, dtype=np.float64) for skill, rows in found.items()}


def _measure(chooser: Chooser, known: Experience, seen: NDArray[np.float32]) -> Measured:
    choices = [chooser.choose(one) for one in seen]
    place = {step: number for number, step in enumerate(known.steps)}
    taken = np.array([place[choice.step] for choice in choices])
    skills = np.array([question.skill for question in known.held_out])
    right, equal = np.zeros(len(taken)), np.zeros(len(taken))
    scores = np.array([question.scores for question in known.held_out], dtype=np.float64)
    tops = []
    for skill, own in _by_skill(known.held_out).items():
        there = skills == skill
        means = own.mean(0)
        tied = np.array([_is_tied(own, step) for step in range(own.shape[1])])
        right[there] = tied[taken[there]]
        equal[there] = means[taken[there]] == means.max()
        tops += [means.max()] * int(there.sum())
    interval = share_interval(int(right.sum()), len(right))
    return Measured(
        questions=len(taken),
        right=100 * float(right.mean()),
        interval=(100 * interval.low, 100 * interval.high),
        equal=100 * float(equal.mean()),
        skills=100 * float(np.mean([c.skill for c in choices] == skills)),
        unsure=100 * float(np.mean([(c.confidence or 0) < chooser.least for c in choices])),
        auto=float(scores[np.arange(len(taken)), taken].mean()),
        latest=float(scores[:, -1].mean()),
        best=float(np.mean(tops)),
    )


def _is_tied(scores: Scores, step: int) -> bool:
    """Whether these questions [n, steps] do not tell a step from the best one, paired."""
    behind = scores[:, scores.mean(0).argmax()] - scores[:, step]
    return bootstrap_interval(behind, seed=0).low <= 0
