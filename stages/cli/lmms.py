"""``adaptinf lmms``: the steps of a run on the tasks of lmms-eval."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from stages.cli.guard import DEBUG

PYTHON = "Python that has lmms-eval. [default: this one]"
MODEL = "Kind of model, by lmms-eval's name."
ARGS = "Further arguments of it, as in dtype=float32,device_map=cpu."
LIVE = "Put adapters on the model instead of merging them; needs adaptinf there."


def ask_tasks(
    run: Annotated[Path, Argument(metavar="RUN", help="Run folder.")],
    tasks: Annotated[str, Option(metavar="A,B", help="Tasks of lmms-eval, divided by commas.")],
    steps: Annotated[
        str, Option(metavar="A,B", help="As in base,1-shop: rows of the run's matrix.")
    ] = "all",
    python: Annotated[str | None, Option(metavar="PATH", help=PYTHON)] = None,
    model: Annotated[str, Option(metavar="NAME", help=MODEL)] = "llava_hf",
    model_args: Annotated[str, Option(metavar="K=V,...", help=ARGS)] = "",
    batch_size: Annotated[int, Option(metavar="N", min=1, help="Questions at a time.")] = 1,
    limit: Annotated[
        int | None, Option(metavar="N", min=1, help="The first N questions of each task.")
    ] = None,
    device: Annotated[str | None, Option(metavar="NAME", help="As in cpu or cuda:1.")] = None,
    include_path: Annotated[
        Path | None, Option(metavar="DIR", help="Folder of tasks of your own.")
    ] = None,
    live: Annotated[bool, Option("--live", help=LIVE)] = False,
    fresh: Annotated[
        bool, Option("--fresh", help="Remove what was asked in another way, at all steps.")
    ] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Print the calls; run nothing.")] = False,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """Have lmms-eval ask a run's steps its tasks, and take the results into the run's matrix.

    After a stop it goes on; what is done is not asked again.
    """
    from adaptinf.console import quiet_libraries
    from stages.lmms.bridge import Order, bridge, calls
    from stages.lmms.call import Call
    from stages.reports import bridged_table, write_run_report

    quiet_libraries()
    order = Order(
        run.resolve(),
        _names(tasks),
        None if steps == "all" else _names(steps),
        Call(
            python or sys.executable,
            model,
            model_args,
            batch_size,
            limit,
            device,
            include_path and include_path.resolve(),
        ),
        live,
        fresh,
    )
    if dry_run:
        print("\n".join(calls(order)))
        return
    bridge(order, lambda text: print(text, file=sys.stderr, flush=True))
    print(bridged_table(run))
    print(f"report: {write_run_report(run).resolve()}")


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
