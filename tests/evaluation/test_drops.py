from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adaptinf.evaluation import AccuracyMatrix, BenchmarkColumn, drops
from adaptinf.evaluation.drops import LEVELS, SHARES, Standing, expected_drops, standings

ROWS = {
    1: [("a", None)] * 4,
    2: [("b", "count")] * 3 + [("b", "digit")] * 2,
    3: [("c", "count")] * 1 + [("c", "new")] * 5,
}
"""By step: dataset and skill of the rows that come with it."""


def write_step(folder: Path, number: int, selected: list[int]) -> None:
    pool = [
        {"uid": f"{at}:{place}", "skill": skill, "arrived": at}
        for at in range(1, number + 1)
        for place, (_, skill) in enumerate(ROWS[at])
    ]
    (folder / "ingest").mkdir(parents=True)
    (folder / "select").mkdir()
    schema = pa.schema([("uid", pa.string()), ("skill", pa.string()), ("arrived", pa.int32())])
    pq.write_table(pa.Table.from_pylist(pool, schema), folder / "ingest" / "pool.parquet")
    chosen = pa.Table.from_pylist([pool[place] for place in selected], schema)
    pq.write_table(chosen, folder / "select" / "selection.parquet")


@pytest.fixture
def steps(tmp_path: Path) -> list[Path]:
    folders = [tmp_path / name for name in ("1-a", "2-b", "3-c")]
    # Of the third step: two rows of a, one count and no digit of b, one count and one new of c.
    for number, chosen in enumerate(([0], [0, 4, 5], [0, 1, 4, 9, 10]), 1):
        write_step(folders[number - 1], number, chosen)
    return folders


def column(name: str, learned_at: int | None, skill: str | None = None) -> BenchmarkColumn:
    return BenchmarkColumn(name, skill or name, "exact", 10, learned_at)


MATRIX = AccuracyMatrix(
    steps=["base", "1-a", "2-b"],
    benchmarks=[
        column("look", 1),
        column("count", 2),
        column("digits", 2, "digit"),
        column("new", 3),
        column("elsewhere", None),
        BenchmarkColumn("words", "look", "cider", 10, 1, "similarity"),
    ],
    scores=[[0.0] * 6, [79.9, 0, 0, 0, 5, 9], [80.0, 55.0, 20.0, 1.0, 5.0, 9.0]],
)


def test_rows_are_those_that_name_the_skill_or_else_all_of_the_dataset(steps: list[Path]) -> None:
    assert standings(MATRIX, steps) == [
        Standing("look", 80.0, 2, 5),  # no row of a names a skill
        Standing("count", 55.0, 2, 5),  # one of each dataset that has them
        Standing("digits", 20.0, 0, 5),
    ]
    assert standings(MATRIX, steps[:2]) == [Standing("look", 79.9, 1, 3)]
    assert standings(MATRIX, steps[:1]) == []


@pytest.mark.parametrize(
    ("level", "rows", "cell"),
    [
        (19.9, 0, (0, 0)),
        (20.0, 1, (1, 1)),
        (59.9, 9, (2, 1)),
        (60.0, 10, (3, 2)),
        (80.0, 30, (4, 3)),
        (100.0, 99, (4, 3)),
        (100.0, 1000, (4, 4)),
    ],
)
def test_bands_begin_at_their_edges(level: float, rows: int, cell: tuple[int, int]) -> None:
    assert Standing("x", level, rows, 1000).cell == cell


def test_what_is_expected_stands_in_the_table(steps: list[Path]) -> None:
    file = Path(drops.__file__).with_suffix(".json")
    cells = {(cell["level"], cell["share"]): cell for cell in json.loads(file.read_text())["cells"]}
    assert len(cells) == (len(LEVELS) + 1) * (len(SHARES) + 1)
    look, count, digits = expected_drops(MATRIX, steps)
    assert (look.points, look.cases) == (cells[4, 4]["drop"], cells[4, 4]["cases"])
    assert (count.points, count.cases) == (cells[2, 4]["drop"], cells[2, 4]["cases"])
    assert (digits.points, digits.cases) == (cells[1, 0]["drop"], cells[1, 0]["cases"])
    assert cells[4, 0]["drop"] > 50 > cells[4, 4]["drop"]
