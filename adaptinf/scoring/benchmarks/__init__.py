"""The published benchmarks, by name."""

from __future__ import annotations

from collections.abc import Mapping

from adaptinf.scoring.benchmarks import captions, choices, judged, open_ended, regions, yes_no
from adaptinf.scoring.items import Benchmark

BENCHMARKS: Mapping[str, Benchmark] = {
    benchmark.name: benchmark
    for family in (open_ended, choices, yes_no, captions, regions, judged)
    for benchmark in family.BENCHMARKS
}
