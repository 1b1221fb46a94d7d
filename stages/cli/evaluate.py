"""``adaptinf evaluate``: a model, with an adapter or without, on benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from adaptinf.notice import Notice
from stages.cli.guard import DEBUG, RESUMES

BENCHMARKS = "Published ones (docs/scoring.md) and YAML files, divided by commas."


def evaluate_model(
    model: Annotated[str, Argument(metavar="MODEL", help="tiny, a hub id, or a folder.")],
    benchmarks: Annotated[str, Option(metavar="A,B", help=BENCHMARKS)],
    out: Annotated[Path, Option(metavar="DIR", help="Where answers and scores go.")],
    adapter: Annotated[
        Path | None, Option(metavar="FOLDER", help="As in runs/mine/steps/1-shop/train/adapter.")
    ] = None,
    data_dir: Annotated[
        Path,
        Option(
            metavar="DIR",
            help="Holds a folder for each published benchmark.",
            envvar="ADAPTINF_BENCHMARKS_ROOT",
        ),
    ] = Path("benchmarks"),
    limit: Annotated[
        int | None, Option(metavar="N", min=1, help="The first N questions of each.")
    ] = None,
    batch_size: Annotated[int, Option(metavar="N", min=1, help="Questions at a time.")] = 16,
    rules: Annotated[
        str | None, Option(metavar="NAME", help="Of published benchmarks that have several.")
    ] = None,
    dtype: Annotated[
        str, Option(metavar="TYPE", help="Number type, as in bfloat16. [default: as saved]")
    ] = "auto",
    json: Annotated[bool, Option("--json", help="Print the scores as JSON.")] = False,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """Have a model answer benchmarks, and score the answers; after a stop it goes on."""
    from adaptinf.console import quiet_libraries
    from adaptinf.distributed import Ranks

    quiet_libraries()
    names = [name.strip() for name in benchmarks.split(",") if name.strip()]
    with Notice().listening(RESUMES) as notice:
        from stages.evaluation import Order, evaluate, follow
        from stages.scores import listed, progress_line

        order = Order(model, adapter, names, data_dir, out, limit, batch_size, rules, dtype)
        if not Ranks.of_launch().leads:
            follow(order, notice)
            return
        outcomes = evaluate(order, progress_line, notice)
    print(listed(outcomes, as_json=json))
