"""Licences of rows: names as SPDX has them, and which of them a recipe lets in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

UNKNOWN: Final = "unknown"
"""What is said of a row whose licence nobody has told."""

COMMERCIAL: Final[tuple[str, ...]] = (
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC-BY-1.0",
    "CC-BY-2.0",
    "CC-BY-2.5",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC-BY-SA-1.0",
    "CC-BY-SA-2.0",
    "CC-BY-SA-2.5",
    "CC-BY-SA-3.0",
    "CC-BY-SA-4.0",
    "CC-PDDC",
    "CC0-1.0",
    "CDLA-Permissive-1.0",
    "CDLA-Permissive-2.0",
    "CDLA-Sharing-1.0",
    "ISC",
    "MIT",
    "ODbL-1.0",
    "ODC-By-1.0",
    "PDDL-1.0",
    "Unlicense",
    "Zlib",
)
"""What ``commercial`` lets in: licences that allow commercial use and changed copies, some on
conditions such as naming the authors or sharing alike. No other, and never an unknown one."""


def plain(licence: str | None) -> str:
    """A name to compare by: ``CC BY 4.0`` and ``cc-by-4.0`` are one; none is "unknown"."""
    return "-".join((licence or UNKNOWN).replace("_", " ").split()).casefold()


def let_in(setting: str | Sequence[str]) -> frozenset[str] | None:
    """Plain names of the licences that ``any``, ``commercial`` or a list lets in; None: all."""
    if setting == "any":
        return None
    names = COMMERCIAL if setting == "commercial" else setting
    return frozenset(map(plain, names))


def spelt(licence: str | None) -> str:
    """The licence as it is told: in the spelling of SPDX where it is one of those known here."""
    return _SPELT.get(plain(licence), licence or UNKNOWN)


_SPELT: Mapping[str, str] = {plain(name): name for name in COMMERCIAL}
