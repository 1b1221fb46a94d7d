"""The cache is found by the name that each release of Transformers has for it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from torch import nn
from transformers import DynamicCache

from adaptinf.models.caches import cache_argument, cache_in, cache_of

NAMES = ["cache", "past_key_values"]


class Older(nn.Module):
    def forward(self, input_ids, past_key_values=None):
        return input_ids


class Newer(nn.Module):
    def forward(self, input_ids, cache=None):
        return input_ids


@pytest.mark.parametrize("name", NAMES)
def test_arguments_and_outputs_have_it_under_either_name(name: str) -> None:
    cache = DynamicCache()
    assert cache_in({"input_ids": 1, name: cache}) is cache
    assert cache_of(SimpleNamespace(**{name: cache})) is cache


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_cache_is_none(name: str) -> None:
    assert cache_in({name: None}) is cache_in({name: ((1, 2),)}) is cache_in({}) is None
    assert cache_of(SimpleNamespace(**{name: None})) is cache_of(SimpleNamespace()) is None


def test_an_output_of_the_new_name_is_not_asked_for_the_old_one() -> None:
    class Output:
        cache = None

        @property
        def past_key_values(self):
            raise AssertionError("asked")

    assert cache_of(Output()) is None


def test_a_module_is_given_it_by_the_name_that_it_has() -> None:
    cache = DynamicCache()
    assert cache_argument(Older(), cache) == {"past_key_values": cache}
    assert cache_argument(Newer(), cache) == {"cache": cache}
