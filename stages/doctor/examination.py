"""All checks in order, and what they mean for each stage."""

from __future__ import annotations

import json
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from adaptinf.console.text import printable, scrubbed
from config import Recipe
from stages.doctor import device, folder, launch, libraries, room, versions
from stages.doctor.finding import MODEL_STAGES, STAGES, Check, Finding, Verdict, worst

_WIDTH = 100
_INDENT = 6


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings; ``stages`` are those that the recipe has, none without one."""

    findings: tuple[Finding, ...]
    stages: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst of all."""
        return worst(self.findings)

    def about(self, stage: str) -> list[Finding]:
        """What does not let a stage be simply well."""
        return [f for f in self.findings if stage in f.stages and f.verdict != "ok"]

    def text(self) -> str:
        """A line for each finding, with what to do below it, and a line for each stage."""
        lines = [line for finding in self.findings for line in _told(finding)]
        if self.stages:
            lines += ["", "stages"]
            lines += [line for stage in self.stages for line in self._stage(stage)]
        count = {kind: sum(f.verdict == kind for f in self.findings) for kind in ("fail", "warn")}
        lines += ["", f"{count['fail']} fail, {count['warn']} warn, of {len(self.findings)} found"]
        return "\n".join(lines)

    def json(self) -> str:
        """The same for programs."""
        stages = {
            stage: {
                "verdict": worst(self.about(stage)),
                "because": sorted({f.check for f in self.about(stage)}),
            }
            for stage in self.stages
        }
        findings = [asdict(finding) for finding in self.findings]
        told = {"verdict": self.verdict, "findings": findings, "stages": stages}
        return scrubbed(json.dumps(told, indent=1))

    def _stage(self, stage: str) -> list[str]:
        verdict = worst(self.about(stage))
        because = [f.check for f in self.about(stage) if f.verdict == verdict]
        named = f": {', '.join(dict.fromkeys(because))}" if because else ""
        return _wrapped(f"{verdict:<{_INDENT}}{stage}{named}")


def examine(recipe: Recipe | None) -> Diagnosis:
    """Look at this machine, and, with a recipe, whether it can do what that asks.

    Nothing is written into the run folder, and no weights are downloaded.
    """
    here = [finding for check in _machine(recipe) for finding in check.findings()]
    if recipe is None:
        return Diagnosis(tuple(here))
    with tempfile.TemporaryDirectory() as scratch:
        there = [f for check in _recipe(recipe, Path(scratch)) for f in check.findings()]
    return Diagnosis((*here, *there), _stages(recipe))


def _machine(recipe: Recipe | None) -> Iterator[Check]:
    yield Check("python", versions.python_version)
    yield Check("packages", versions.package_versions)
    yield Check("faiss", libraries.faiss_flavour)
    yield Check("device", device.accelerator, MODEL_STAGES)
    yield Check("launch", partial(launch.launch, recipe))
    if recipe is None:
        yield Check("disk", partial(room.little_disk, Path.cwd()))


def _recipe(recipe: Recipe, scratch: Path) -> Iterator[Check]:
    yield Check("libraries", partial(libraries.asked_by, recipe))
    yield Check("half precision", partial(device.number_types, recipe), MODEL_STAGES)
    yield Check("run folder", partial(folder.run_folder, recipe.output_dir))
    yield Check("file system", partial(folder.file_system, recipe.output_dir))
    try:
        from stages.doctor import data, model, shape
        from stages.doctor.case import Case
    except ImportError as error:  # torch or another is missing, which is found already
        yield Check("libraries", partial(_absent, error))
        return
    case = Case(recipe, scratch)
    yield Check("model", partial(model.model_there, case), MODEL_STAGES)
    yield Check("data root", partial(data.data_root, case))
    yield Check("datasets", partial(data.datasets, case))
    yield Check("benchmarks", partial(data.benchmarks, case), data.ASKED)
    yield Check("disk", partial(room.disk, case))
    yield Check("memory", partial(room.memory, case), MODEL_STAGES)
    yield Check("training step", partial(shape.training_step, case), shape.STAGES)


def _absent(error: ImportError) -> Iterator[Finding]:
    yield Finding("libraries", "fail", f"{error}; the rest is not looked at", "see packages")


def _stages(recipe: Recipe) -> tuple[str, ...]:
    """The stages that the recipe's walk has, known without its data."""
    from selection.names import FEATURELESS

    scored = recipe.select.method not in FEATURELESS or recipe.pool_budget is not None
    left_out = set() if recipe.data.overlap else {"overlap"}
    left_out |= set() if scored else {"glance", "featurize"}
    left_out |= {"glance"} if recipe.most_scored is None else set()
    left_out |= set() if recipe.rehearse.rows and len(recipe.tasks) > 1 else {"rehearse"}
    return tuple(stage for stage in STAGES if stage not in left_out)


def _told(finding: Finding) -> list[str]:
    lines = _wrapped(f"{finding.verdict:<{_INDENT}}{finding.check}: {finding.seen}")
    if finding.todo and finding.verdict != "ok":
        lines += _wrapped(f"{'':<{_INDENT}}-> {finding.todo}")
    return lines


def _wrapped(line: str) -> list[str]:
    text, margin = printable(scrubbed(line)), " " * (_INDENT + 2)
    return textwrap.wrap(
        text, _WIDTH, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False
    )
