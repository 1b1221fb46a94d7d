"""The sets of versions that the tests are run with, beside what setup.py allows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
SETS = ("constraints.txt", "constraints-oldest.txt", "constraints-newest.txt")
ELSEWHERE = {"faiss-gpu-cu12", "lmms-eval"}  # another machine, and an environment of its own


def pins(name: str) -> dict[str, Version]:
    lines = (ROOT / name).read_text().splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(package): Version(version) for package, version in pairs}


def needs() -> list[Requirement]:
    """What setup.py asks for, in its own words: an installed copy may be of an earlier day."""
    text = re.search(r"install_requires=.*?entry_points", (ROOT / "setup.py").read_text(), re.S)
    assert text is not None
    found = [Requirement(need) for need in re.findall(r'^ +"([\w-]+(?:>=.+)?)",$', text[0], re.M)]
    found += map(Requirement, re.findall(r'"([\w-]+>=[\d.]+)"[],]', text[0]))
    return [need for need in dict.fromkeys(found) if need.name not in ELSEWHERE]


def test_what_is_asked_for_is_found() -> None:
    assert {"torch", "safetensors", "rich", "faiss-cpu", "bitsandbytes", "ruff"} <= {
        need.name for need in needs()
    }


@pytest.mark.parametrize("name", SETS)
def test_every_set_has_a_version_of_each_that_fits(name: str) -> None:
    there = pins(name)
    for need in needs():
        version = there[canonicalize_name(need.name)]
        assert need.specifier.contains(version), f"{need} and {version}"


def test_the_oldest_set_has_the_lowest_versions() -> None:
    """Up to a last number: of some releases the very first was never published."""
    there = pins("constraints-oldest.txt")
    for need in needs():
        for floor in (Version(spec.version) for spec in need.specifier):
            version = there[canonicalize_name(need.name)]
            assert (version.major, version.minor) == (floor.major, floor.minor), need


def test_the_sets_go_from_old_to_new() -> None:
    oldest, today, newest = (pins(name) for name in (SETS[1], SETS[0], SETS[2]))
    for need in needs():
        name = canonicalize_name(need.name)
        assert oldest[name] <= today[name] <= newest[name], name
