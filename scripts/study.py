"""Does selection limit forgetting, and what does it cost? The study of docs/study_plan.md.

``python scripts/study.py run runs/study --processes 2`` makes the runs, ``python scripts/study.py
tables runs/study`` reads them and writes docs/results.json and docs/results.md. Stop the first at
any moment: the same command goes on, and so does one with more or fewer processes. Another one
started beside it takes what nobody is at.
"""

from __future__ import annotations

import os

# One thread to a process: the tiny model gains nothing from more, and bytes hang on their number.
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import subprocess
import sys
from pathlib import Path

from adaptinf.console import quiet_libraries
from adaptinf.errors import UserError, suggestion
from adaptinf.notice import Interrupted, Notice
from study_plan import Plan, read_plan

ROOT = Path(__file__).parents[1]


def main(arguments: list[str] | None = None) -> int:
    """Run, or write the tables; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="make the runs that are not there yet")
    run.add_argument("--only", nargs="+", default=[], metavar="TABLE", help="runs of these tables")
    run.add_argument("--methods", nargs="+", default=[], metavar="WAY", help="runs of these ways")
    run.add_argument("--seeds", nargs="+", type=int, default=[], help="runs of these seeds")
    run.add_argument("--processes", type=int, default=1, help="so many at once, of a thread each")
    run.add_argument("--list", action="store_true", help="say which runs these are; make none")
    tables = commands.add_parser("tables", help="read finished runs, write the results")
    tables.add_argument("--out", type=Path, default=ROOT / "docs/results", help="without suffix")
    tables.add_argument("--page", type=Path, help="put a brief table there")
    tables.add_argument(
        "--report", type=Path, help="also a forgetting-report page, of the first seed's runs"
    )
    for command in (run, tables):
        command.add_argument("runs", type=Path, help="folder of the runs")
        command.add_argument("--reduced", action="store_true", help="the small version for tests")
    options = parser.parse_args(arguments)
    plan = read_plan(reduced=options.reduced)
    try:
        perform = make_runs if options.command == "run" else write_tables
        return perform(plan, options)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


def make_runs(plan: Plan, options: argparse.Namespace) -> int:
    """Make the runs in this process, with others like it beside it."""
    from study_runs import make_all

    check_names(plan, options)
    cells = plan.cells(options.only, options.methods, options.seeds)
    if options.list:
        print("\n".join(cell.name for cell in cells))
        return 0
    quiet_libraries()
    command = [sys.executable, __file__, *sys.argv[1:], "--processes", "1"]
    others = [subprocess.Popen(command) for _ in range(options.processes - 1)]
    try:
        with Notice().listening("stopped; the same command goes on") as notice:
            failed = make_all(plan, cells, options.runs.absolute(), notice)
    except (Interrupted, KeyboardInterrupt):
        for other in others:
            other.terminate()
        print("stopped; the same command goes on")
        return 0
    statuses = [other.wait() for other in others]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed or any(statuses) else 0


def check_names(plan: Plan, options: argparse.Namespace) -> None:
    """Refuse names of tables and ways that the plan does not have."""
    for kind, names, known in (
        ("table", options.only, [table.name for table in plan.tables]),
        ("way", options.methods, list(plan.ways)),
    ):
        for name in names:
            if name not in known:
                raise UserError(f"no {kind} of that name", seen=name, hint=suggestion(name, known))


def write_tables(plan: Plan, options: argparse.Namespace) -> int:
    """Write the results as JSON and as Markdown, print the latter; the page if asked for."""
    from pages import put
    from stages.seals import are_sealed
    from study_pages import brief_of, page_of
    from study_results import results_of

    results = results_of(plan, options.runs)
    text = page_of(results)
    options.out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(text)
    if options.page:
        put(options.page, "docs/results.json", brief_of(results))
    if options.report:
        from adaptinf.report.many import write_comparison

        first = plan.cells([plan.tables[0].name], (), [0])
        found = [options.runs / cell.name for cell in first]
        write_comparison([run for run in found if are_sealed(run)], options.report)
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
