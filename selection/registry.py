"""Selection methods by name; users add their own with :func:`register`."""

from __future__ import annotations

from collections.abc import Callable

from selection.choice import Method
from selection.methods import BUILT_IN
from selection.words import check_word

_methods: dict[str, Method] = dict(BUILT_IN)


def register(name: str) -> Callable[[Method], Method]:
    """Decorator that makes a method known as ``name``; ValueError when the name is taken."""

    def add(method: Method) -> Method:
        if name in _methods:
            raise ValueError(f"a selection method named {name!r} is already registered")
        _methods[name] = method
        return method

    return add


def lookup(name: str) -> Method:
    """The method known as ``name``; ValueError with the nearest name when there is none."""
    check_word("selection method", name, sorted(_methods))
    return _methods[name]
