"""The card of an adapter: PEFT's front matter, and what the adapter comes from, in Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import yaml

from adaptinf.data.licences import UNKNOWN, spelt

_LONGEST = 160

_MARKS = re.compile(r"([\\`*_{}\[\]|~#])")


@dataclass(frozen=True, slots=True)
class Share:
    """So many ``rows`` of one dataset, one source and one licence; None is what nobody told."""

    dataset: str
    source: str | None
    licence: str | None
    rows: int


@dataclass(frozen=True, slots=True)
class Result:
    """A benchmark, in percent: the base model, this step, and the drop from the best step so far.

    ``drop`` is None where no step up to this one has taught the benchmark.
    """

    benchmark: str
    base: float
    now: float
    drop: float | None


@dataclass(frozen=True, slots=True)
class Card:
    """What a card tells.

    ``load_with`` is the import that makes PEFT know the adapter. ``shares`` are the rows that this
    step was trained on, ``earlier`` those of the steps below or before it. ``hubs`` are names of
    datasets as the front matter has them. ``place`` is where the adapter is from the card's folder,
    ``results`` are None as long as nothing was asked.
    """

    base: str
    route: str
    revision: str | None = None
    load_with: str = ""
    kind: str = ""
    step: str = ""
    lineage: Mapping[str, str] = field(default_factory=dict)
    shares: Sequence[Share] = ()
    earlier: Sequence[Share] = ()
    hubs: Sequence[str] = ()
    recipe: Mapping[str, object] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    place: str = "this/folder"
    results: Sequence[Result] | None = None
    forgetting: float | None = None

    @property
    def licence(self) -> str | None:
        """The one licence of all rows in the adapter; None where one is unknown, or they differ."""
        told = {spelt(share.licence) for share in (*self.shares, *self.earlier)}
        return told.pop() if len(told) == 1 and UNKNOWN not in told else None

    def text(self) -> str:
        """The whole file. What comes from data is escaped."""
        parts = [self._front(), self._about(), self._usage()]
        if self.shares:
            parts += [self._rows(), self._results(), self._recipe()]
        return "\n".join(part for part in parts if part)

    def _front(self) -> str:
        told: dict[str, object] = {
            "base_model": self.base,
            "library_name": "peft",
            "pipeline_tag": "image-text-to-text",
            "tags": ["adaptinf", self.route, f"base_model:adapter:{self.base}"],
        }
        if self.hubs:
            told["datasets"] = list(self.hubs)
        if self.licence:
            told["license"] = self.licence.lower()
        return f"---\n{yaml.safe_dump(told, sort_keys=False, allow_unicode=True)}---\n"

    def _about(self) -> str:
        revision = f", revision {cell(self.revision)}" if self.revision else ""
        lines = [
            f"A PEFT adapter for {cell(self.base)}{revision}, one step of a lifelong run. "
            f"Its route is {self.route}."
        ]
        lines += [f"- {name}: {cell(value)}" for name, value in self.lineage.items()]
        if not self.shares:
            lines.append("`lineage.json` tells what it continues.")
        return "\n".join([lines[0], "", *lines[1:], ""])

    def _usage(self) -> str:
        known = f"{self.load_with}  # makes PEFT know {self.kind}\n" if self.load_with else ""
        return (
            f"```python\n{known}from peft import PeftModel\n\n"
            f'model = PeftModel.from_pretrained(base_model, "{self.place}")\n```\n'
        )

    def _rows(self) -> str:
        lines = ["## Rows it was trained on", "", *_table(self.shares)]
        if self.earlier:
            lines += ["", "Of steps before, whose training is in it:", "", *_table(self.earlier)]
        lines += [
            "",
            "Licences are as rows, recipe or catalogue tell them; images may have others.",
        ]
        return "\n".join([*lines, ""])

    def _results(self) -> str:
        if self.results is None:
            where = "Its answers were asked after this was written: see README.md of the step."
            return f"## Results\n\n{where}\n"
        lines = [
            "## Results",
            "",
            "| benchmark | base | this step | drop |",
            "|---|---:|---:|---:|",
        ]
        for one in self.results:
            drop = "-" if one.drop is None else f"{one.drop:.1f}"
            lines.append(f"| {cell(one.benchmark)} | {one.base:.1f} | {one.now:.1f} | {drop} |")
        mean = "not defined yet" if self.forgetting is None else f"{self.forgetting:.1f} points"
        told = "Percent; drop is from the best step so far. Forgetting (mean max-drop)"
        return "\n".join([*lines, "", f"{told}: {mean}.", ""])

    def _recipe(self) -> str:
        lines = ["## Recipe and hashes", ""]
        lines += [f"- {name}: {cell(str(value))}" for name, value in self.recipe.items()]
        lines += [f"- {name}: `{digest}`" for name, digest in self.hashes.items()]
        return "\n".join([*lines, ""])


def cell(text: str) -> str:
    """Text from elsewhere in a table of Markdown: one line, no markup, no HTML, cut when long."""
    line = " ".join(text.split())
    cut = line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."
    return html.escape(_MARKS.sub(r"\\\1", cut), quote=False)


def _table(shares: Sequence[Share]) -> list[str]:
    lines = ["| dataset | source | licence | rows |", "|---|---|---|---:|"]
    for share in shares:
        told = (share.dataset, share.source or UNKNOWN, spelt(share.licence))
        lines.append(f"| {' | '.join(map(cell, told))} | {share.rows} |")
    total = sum(share.rows for share in shares)
    return [*lines, f"| all | | | {total} |"]
