"""Which step a question is for: what it reads like, and which step scored best on that."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from adaptinf.files import write_atomically

LEAST = 0.5
"""Confidence below which the latest step answers."""

FAR = 1.5
"""So many times as far from its skill's middle as any known question, a question is like none."""

DIM, SEED = 512, 0
_WEIGHTS, _FILE = "choice.npz", "choice.json"
_ARRAYS = ("weights", "bias", "middles", "reach")

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Choice:
    """A step, and why. ``skill`` is what the question reads like, ``confidence`` from 0 to 1."""

    step: str
    skill: str | None
    confidence: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Best:
    """The step that scored best on a skill, in percent; None where no benchmark tells."""

    step: str
    score: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Chooser:
    """A linear classifier over first looks at questions, and the best step of each class.

    ``weights`` [skills, width] and ``bias`` [skills] are of logistic regression on looks; a look
    that is farther from the ``middles`` [skills, width] than ``reach`` [skills] is like no skill,
    however sure the classifier, which knows no others.
    """

    skills: tuple[str, ...]
    weights: Floats
    bias: Floats
    middles: Floats
    reach: Floats
    best: Mapping[str, Best]
    latest: str
    least: float = LEAST

    @classmethod
    def fit(
        cls, looks: Floats, skills: Sequence[str], best: Mapping[str, Best], latest: str
    ) -> Self:
        """Learn what questions of a skill look like from ``looks`` [n, width] with their skills.

        Where all are of one skill, so is every question.
        """
        from sklearn.linear_model import LogisticRegression

        names = tuple(sorted(set(skills)))
        if len(names) == 1:
            weights, bias = np.zeros((1, looks.shape[1])), np.zeros(1)
        else:
            fitted = LogisticRegression(C=100.0, max_iter=2_000).fit(looks, list(skills))
            weights, bias = fitted.coef_, fitted.intercept_
        if len(names) == 2:  # the library keeps the second of two alone
            weights, bias = np.concatenate([-weights, weights]) / 2, np.append(-bias, bias) / 2
        own = [looks[np.array(skills) == name] for name in names]
        middles = np.stack([some.mean(0) for some in own])
        pairs = zip(own, middles, strict=True)
        reach = FAR * np.array([np.linalg.norm(some - at, axis=1).max() for some, at in pairs])
        arrays = (array.astype(np.float32) for array in (weights, bias, middles, reach))
        return cls(names, *arrays, best, latest)

    def choose(self, seen: Floats) -> Choice:
        """The step for a question [width]."""
        values = self.weights @ seen + self.bias
        parts = np.exp(values - values.max())
        likely = int(parts.argmax())
        skill, confidence = self.skills[likely], float(parts[likely] / parts.sum())
        if np.linalg.norm(seen - self.middles[likely]) > self.reach[likely]:
            return Choice(self.latest, None, 0.0, "like nothing known, so the latest step")
        if confidence < self.least:
            why = f"like nothing for sure ({skill}: {confidence:.0%}), so the latest step"
            return Choice(self.latest, skill, confidence, why)
        best = self.best[skill]
        if not best.score:
            lack = "which no benchmark measures" if best.score is None else "where no step scores"
            why = f"like {skill} ({confidence:.0%}), {lack}"
            return Choice(best.step, skill, confidence, why)
        scored = f"{best.step} scored best, {best.score:.1f}\N{NO-BREAK SPACE}%"
        why = f"like {skill} ({confidence:.0%}), on which {scored}"
        return Choice(best.step, skill, confidence, why)

    def save(self, folder: Path, key: str, measured: Mapping[str, Any] | None) -> None:
        """Write it into a folder, with what it was made from and how well it chooses."""
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _WEIGHTS).open("wb") as stream:
            np.savez(stream, **{name: getattr(self, name) for name in _ARRAYS})
        told = {
            "key": key,
            "skills": self.skills,
            "best": {name: [best.step, best.score] for name, best in self.best.items()},
            "latest": self.latest,
            "measured": measured,
        }
        write_atomically(folder / _FILE, json.dumps(told, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path, key: str) -> Self | None:
        """What was written; None where there is none, or one that was made from something else."""
        try:
            told = json.loads((folder / _FILE).read_bytes())
            if told["key"] != key:
                return None
            with np.load(folder / _WEIGHTS, allow_pickle=False) as arrays:
                found = [arrays[name] for name in _ARRAYS]
            best = {str(name): Best(*known) for name, known in told["best"].items()}
            return cls(tuple(told["skills"]), *found, best, told["latest"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def look(model: Any, batch: Mapping[str, Any]) -> Floats:
    """First looks [rows, width] at prompts: mean states a quarter of the way up the base model."""
    from adaptinf.features.glance import Glance

    seen = Glance(model, DIM, SEED)({**batch, "labels": batch["input_ids"]})
    found: Floats = seen.numpy()
    return found
