"""The pool that a user's files make: row i of each of them is row i of the pool."""

from __future__ import annotations

from dataclasses import dataclass

from adaptinf.errors import UserError, suggestion
from selection import Pool
from selection.pool import Matrix
from stages.arrays.columns import Table, read_table
from stages.arrays.labels import ARRIVAL, GROUPS, IDS, find_label, unique_ids
from stages.arrays.matrices import MatrixFile, read_matrix, side_by_side
from stages.arrays.order import Columns, Order
from stages.arrays.rows import RowsFile, read_rows


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """The pool, the rows to write back if there are any, and what the scores file had besides.

    ``unused`` are columns that are neither scores nor labels.
    """

    pool: Pool
    rows: RowsFile | None
    unused: tuple[str, ...]


def read_inputs(order: Order) -> Inputs:
    """All files of the order but the centroids, read and brought together.

    Raises UserError for a file that cannot be read or has another number of rows than the others,
    for a column that is missing or does not fit, and for ids that are not unique.
    """
    files, columns = order.files, order.columns
    matrices = [
        read_matrix(source, prefixes)
        for source, prefixes in (
            (files.features, ("features", "gradients")),
            (files.embeddings, ("embeddings",)),
        )
        if source is not None
    ]
    scores = None if files.scores is None else read_table(files.scores)
    rows = None if files.rows is None else read_rows(files.rows, _fields(columns))
    tables = [scores] if scores else []
    tables += [rows.table] if rows else []
    n = _row_count(matrices, tables)
    groups = find_label(tables, columns.groups, GROUPS, "--group-column")
    arrival = find_label(tables, columns.arrival, ARRIVAL, "--arrival-column")
    names = _score_names(scores, columns)
    pool = Pool(
        ids=unique_ids(tables, columns, n),
        features=_features(matrices),
        scores={} if scores is None else {name: scores.score(name) for name in names},
        groups=None if groups is None else groups.texts(),
        arrival=None if arrival is None else arrival.steps(),
    )
    unused = () if scores is None else set(scores.columns) - {*names, *_fields(columns)}
    return Inputs(pool, rows, tuple(sorted(unused)))


def _fields(columns: Columns) -> set[str]:
    """Names of columns that label a row, and so are never taken for scores."""
    asked = {columns.ids, columns.groups, columns.arrival} - {None}
    return {*IDS, *GROUPS, *ARRIVAL, *(name for name in asked if name)}


def _row_count(matrices: list[MatrixFile], tables: list[Table]) -> int:
    counts = [(part.where, len(part.matrix)) for part in matrices]
    counts += [(str(table.path), table.rows) for table in tables]
    if not counts:
        raise UserError(
            "nothing to select from", hint="give --features, --embeddings, --scores or --rows"
        )
    where, n = counts[0]
    for other, rows in counts[1:]:
        if rows != n:
            raise UserError(f"{rows} rows here, but {n} in {where}", where=other)
    return n


def _features(matrices: list[MatrixFile]) -> Matrix | None:
    if len(matrices) == 2:
        return side_by_side(matrices[0].matrix, matrices[1].matrix)
    return matrices[0].matrix if matrices else None


def _score_names(scores: Table | None, columns: Columns) -> tuple[str, ...]:
    """The scores that are asked for, else all numeric columns that are no labels."""
    if scores is None:
        if columns.scores:
            raise UserError(
                "there is no table of scores", where="--score-column", hint="give --scores"
            )
        return ()
    for name in columns.scores:
        if name not in scores.columns:
            raise UserError(
                f"no column {name!r} here",
                where=str(scores.path),
                hint=suggestion(name, scores.columns),
            )
    labels = _fields(columns)
    numeric = (name for name in scores.columns if name not in labels and scores.is_score(name))
    return columns.scores or tuple(numeric)
