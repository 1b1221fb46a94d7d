"""A decoder's cache of keys and values, by whichever name Transformers has for it.

Up to 5.23 arguments and outputs call it ``past_key_values``, from 5.24 on ``cache``. Who listens to
forward passes and looked for one name only would find no cache under the other release, and take
every generated token for the beginning of a text.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn
from transformers import Cache

_NAMES = ("cache", "past_key_values")


def cache_in(arguments: Mapping[str, Any]) -> Cache | None:
    """The cache among the arguments of a forward pass, if there is one."""
    found = (arguments.get(name) for name in _NAMES)
    return next((cache for cache in found if isinstance(cache, Cache)), None)


def cache_of(output: Any) -> Cache | None:
    """The cache that a forward pass has returned, if it has."""
    # The old name is asked only where there is no new one: 5.24 warns of every use.
    name = next((name for name in _NAMES if hasattr(output, name)), None)
    cache = None if name is None else getattr(output, name)
    return cache if isinstance(cache, Cache) else None


def cache_argument(module: nn.Module, cache: Cache) -> dict[str, Cache]:
    """The cache as an argument of ``module``'s forward pass."""
    new, old = _NAMES
    return {new if new in inspect.signature(module.forward).parameters else old: cache}
