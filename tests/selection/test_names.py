from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import selection
from selection.methods import BUILT_IN
from selection.names import CLUSTERED, FEATURELESS, METHODS, SCORES


def test_importing_the_names_loads_neither_numpy_nor_faiss() -> None:
    code = (
        "import sys, selection.names, selection\n"
        "assert selection.METHODS and selection.SCORES\n"
        "print(sorted({'numpy', 'faiss', 'pyarrow', 'torch', 'sklearn'} & set(sys.modules)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert shown.stdout.strip() == "[]"


def test_the_listed_methods_are_the_built_in_ones() -> None:
    assert tuple(BUILT_IN) == METHODS


def test_the_listed_properties_are_those_of_the_methods() -> None:
    ids, steps = list("abcdef"), np.arange(6)
    rows = np.eye(6, dtype=np.float32)
    scores = {name: np.arange(6.0) for name in SCORES}
    full = selection.Pool(ids, rows, scores=scores, arrival=steps)
    clustered = [m for m in METHODS if selection.select(full, 3, m).centroids is not None]
    assert tuple(clustered) == CLUSTERED
    bare, unmoved = selection.Pool(ids, arrival=steps), []
    for method in METHODS:
        try:
            selection.select(bare, 3, method)
        except ValueError:
            continue
        unmoved.append(method)
    assert tuple(unmoved) == FEATURELESS


def test_every_public_name_resolves() -> None:
    for name in selection.__all__:
        assert getattr(selection, name).__class__ is not type(None)
    assert dir(selection) == sorted(selection.__all__)


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'selction'"):
        _ = selection.selction
