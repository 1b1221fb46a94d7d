"""The names a recipe may use. Imports nothing, so that settings can be checked without numpy."""

from __future__ import annotations

METHODS: tuple[str, ...] = (
    "adapt-inf",
    "adapt-inf-lite",
    "random",
    "sequential",
    "multitask",
    "perplexity",
    "el2n",
    "entropy",
    "grand",
    "image-grounding",
    "semdedup",
    "dbp",
    "d2",
    "coincide",
)
"""Built-in selection methods."""

SCORES: tuple[str, ...] = ("perplexity", "el2n", "entropy", "grand", "image_grounding")
"""Scores that feature extraction writes, in the order that breaks ties between scorers."""

CLUSTERS: tuple[str, ...] = ("auto", "elbow", "silhouette")
"""Ways to find the number of clusters."""

CLUSTERED: tuple[str, ...] = ("adapt-inf", "adapt-inf-lite", "semdedup", "dbp", "coincide")
"""Methods that cluster rows, so that they can take centroids."""

FEATURELESS: tuple[str, ...] = ("random", "sequential", "multitask")
"""Methods that look neither at features nor at scores."""
