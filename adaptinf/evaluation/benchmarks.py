"""The benchmarks that somebody asks for: their own, by YAML files, and published ones, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from adaptinf.errors import UserError, suggestion
from adaptinf.evaluation.benchmark import Benchmark, Marks, Question, require_images
from adaptinf.evaluation.own import OwnBenchmark, load_benchmark
from adaptinf.evaluation.published import PublishedBenchmark, Shelf, kind_of
from adaptinf.scoring.benchmarks import BENCHMARKS

__all__ = [
    "Benchmark",
    "Marks",
    "OwnBenchmark",
    "PublishedBenchmark",
    "Question",
    "Shelf",
    "find_benchmarks",
    "kind_of",
    "load_benchmark",
    "require_images",
    "require_names",
    "taught",
]

_YAML = (".yaml", ".yml")


def find_benchmarks(
    folder: Path,
    wanted: str | Sequence[str],
    recipe_dir: Path = Path(),
    shelf: Shelf | None = None,
) -> list[Benchmark]:
    """The benchmarks that the recipe asks for: ``all`` of ``folder`` (by name), or a list in order.

    An entry of the list is the name of one in the folder, that of a published one or of a part of
    it (``targets-vsr``), or the path of a YAML file: relative to the recipe's folder, or else to
    the working directory. ``shelf`` is where published ones lie.

    Raises:
        UserError: none at all, an unknown name, one without its files, or the same name twice.
    """
    known = {b.name: b for b in map(load_benchmark, sorted(folder.glob("*.yaml")))}
    chosen: list[Benchmark] = list(known.values())
    if wanted != "all":
        chosen = [_named(name, known, recipe_dir, shelf) for name in wanted]
    if not chosen:
        raise UserError(
            "no benchmark, so that forgetting could not be measured",
            where="evaluate.benchmarks",
            hint=f"put YAML files under {folder}, or list their paths",
        )
    names = [benchmark.name for benchmark in chosen]
    for name in names:
        if names.count(name) > 1:
            raise UserError("named twice", where="evaluate.benchmarks", seen=name)
    return chosen


def taught(
    benchmarks: Sequence[Benchmark],
    skills: Mapping[str, str],
    taught_by: Mapping[str, Sequence[str]],
) -> list[Benchmark]:
    """The benchmarks with the skills, and the datasets that teach them, that a recipe says.

    Raises:
        UserError: it speaks of a benchmark that is not among them.
    """
    names = [benchmark.name for benchmark in benchmarks]
    for key, given in (("skills", skills), ("taught_by", taught_by)):
        require_names(names, given, f"evaluate.{key}")
    return [
        replace(
            benchmark,
            skill=skills.get(benchmark.name, benchmark.skill),
            taught_by=tuple(taught_by.get(benchmark.name, benchmark.taught_by)),
        )
        for benchmark in benchmarks
    ]


def require_names(names: Sequence[str], given: Mapping[str, object], where: str) -> None:
    """That only benchmarks that are asked are spoken of. Raises ``UserError``."""
    for name in given:
        if name not in names:
            hint = suggestion(name, names)
            raise UserError("no benchmark of this recipe", where=where, seen=name, hint=hint)


def _named(
    name: str, known: Mapping[str, Benchmark], recipe_dir: Path, shelf: Shelf | None
) -> Benchmark:
    if name in known:
        return known[name]
    if shelf is not None and kind_of(name) in BENCHMARKS and Path(name).suffix not in _YAML:
        return shelf.benchmark(name)
    for path in (recipe_dir / name, Path(name)):
        if path.suffix in _YAML and path.is_file():
            return load_benchmark(path)
    names = [*known, *(BENCHMARKS if shelf else ())]
    hint = suggestion(name, names) if names else "give the path of a benchmark's YAML file"
    raise UserError("unknown benchmark", where="evaluate.benchmarks", seen=name, hint=hint)
