"""``adaptinf select``: which rows to train on, out of arrays that the user brings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from selection.names import METHODS
from stages.cli.guard import DEBUG

METHOD = f"One of {', '.join(METHODS)}."

Names = list[str] | None


def select_rows(
    budget: Annotated[int, Option(metavar="N", help="Rows to choose.")],
    out: Annotated[Path, Option(metavar="FILE", help=".parquet; or .json, .jsonl as --rows is.")],
    features: Annotated[
        str | None, Option(metavar="NPY", help="[rows, d] floats; also a folder or a glob.")
    ] = None,
    embeddings: Annotated[
        str | None, Option(metavar="NPY", help="The same; with --features both count alike.")
    ] = None,
    scores: Annotated[
        Path | None, Option(metavar="FILE", help="Table of scores, .parquet or .jsonl.")
    ] = None,
    rows: Annotated[
        Path | None, Option(metavar="FILE", help="Conversations to choose from, .json or .jsonl.")
    ] = None,
    method: Annotated[str, Option(metavar="NAME", help=METHOD)] = "adapt-inf",
    seed: Annotated[int, Option(metavar="N", help="The same seed gives the same rows.")] = 0,
    clusters: Annotated[
        str, Option(metavar="K", help="Number, auto (root of the budget), elbow or silhouette.")
    ] = "auto",
    scorer: Annotated[
        str,
        Option(metavar="RULE", help="max-entropy, mean-rank, raw-entropy or the name of a score."),
    ] = "max-entropy",
    cluster_budgets: Annotated[
        str, Option(metavar="RULE", help="uniform, size or score-weighted.")
    ] = "uniform",
    sampling: Annotated[
        str, Option(metavar="RULE", help="coverage, random, top, bottom or middle.")
    ] = "coverage",
    centroids: Annotated[
        Path | None, Option(metavar="FILE", help="Earlier clusters, .npy or .safetensors.")
    ] = None,
    save_centroids: Annotated[
        Path | None, Option(metavar="FILE", help="Keep these clusters for the next time.")
    ] = None,
    floor: Annotated[
        Names, Option(metavar="GROUP=SHARE", help="Least share of a group, as in llava=0.1.")
    ] = None,
    ceiling: Annotated[
        Names, Option(metavar="GROUP=SHARE", help="Largest share of a group.")
    ] = None,
    old: Annotated[
        str | None, Option(metavar="MIN,MAX", help="Share of rows before the newest arrival.")
    ] = None,
    score_column: Annotated[
        Names, Option(metavar="NAME", help="Score to use; all numeric columns if not given.")
    ] = None,
    id_column: Annotated[
        str | None, Option(metavar="NAME", help="Unique name of a row. [default: id, uid]")
    ] = None,
    group_column: Annotated[
        str | None, Option(metavar="NAME", help="What shares are by. [default: dataset, group]")
    ] = None,
    arrival_column: Annotated[
        str | None, Option(metavar="NAME", help="Step of a row. [default: arrival, arrived]")
    ] = None,
    row_numbers: Annotated[
        bool, Option("--row-numbers", help="Name rows by number, from 0, whatever ids they have.")
    ] = False,
    explain: Annotated[
        Names, Option(metavar="ID", help="Say why this row was chosen, or not; repeatable.")
    ] = None,
    json: Annotated[bool, Option("--json", help="Print the summary as JSON.")] = False,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """Choose the rows to train on out of your own arrays.

    Row i of every file is the same row. A summary is written beside the output.
    """
    from adaptinf.console import make_console
    from stages.arrays.flow import select_arrays
    from stages.arrays.order import Columns, Files, Order, Rules, limits, share_range, whole_or_word

    files = Files(out, features, embeddings, scores, rows, centroids, save_centroids)
    columns = Columns(
        id_column, row_numbers, group_column, arrival_column, tuple(score_column or ())
    )
    rules = Rules(
        method=method,
        seed=seed,
        clusters=whole_or_word(clusters),
        scorer=scorer,
        budgets=cluster_budgets,
        sampling=sampling,
        floors=limits("--floor", floor or ()),
        ceilings=limits("--ceiling", ceiling or ()),
        old=share_range("--old", old),
    )
    order = Order(budget, files, columns, rules, tuple(explain or ()))
    finished = select_arrays(order, make_console(None))
    print(finished.json() if json else finished.text())
