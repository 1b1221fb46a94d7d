"""The commands. Everything heavy is imported inside the command, so that ``--help`` is fast."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from adaptinf.errors import UserError

DEBUG = typer.Option("--debug", help="Show the traceback of an error.")


def run_lifelong() -> None:
    """Entry point of ``run-lifelong``."""
    _run(_run_lifelong)


def forgetting_report() -> None:
    """Entry point of ``forgetting-report``."""
    _run(_forgetting_report)


def _run(command: Callable[..., None]) -> None:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(_guarded(command))
    app()


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    """The command with a user's mistakes told in lines, and Ctrl-C answered with what it means."""

    @wraps(command)
    def guarded(*, debug: bool, **arguments: Any) -> None:
        try:
            command(debug=debug, **arguments)
        except UserError as error:
            if debug:
                raise
            print(*error.lines, sep="\n", file=sys.stderr)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            print("stopped; the same command goes on from here", file=sys.stderr)
            raise typer.Exit(130) from None

    return guarded


def _run_lifelong(
    recipe: Annotated[Path, typer.Argument(help="Recipe (YAML).")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings, as in select.budget=5000.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run, and what it costs; run nothing.")
    ] = False,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Make anew what was made with another recipe."),
    ] = False,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """Stream the recipe's datasets through selection and training, and measure what is forgotten.

    The same command again resumes; a task or a benchmark added to a finished recipe computes only
    what is new.
    """
    from adaptinf.console import make_console, quiet_libraries
    from config import load_recipe

    settings = load_recipe(recipe, overrides or [])
    quiet_libraries()
    if dry_run:
        from stages.preview import preview

        print(preview(settings))
        return
    from stages.manager import run_lifelong as run

    settings.output_dir.mkdir(parents=True, exist_ok=True)
    console = make_console(settings.output_dir / "events.jsonl")
    finished = run(settings, console, fresh=fresh)
    if not finished.performed:
        console.line("nothing to do: every stage of this recipe is done")
    print(finished.table)
    print(f"report: {finished.report.resolve()}")


def _forgetting_report(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Annotated[Path | None, typer.Option(help="Where to write the page.")] = None,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """Write the forgetting report of a run and print its table."""
    from adaptinf.evaluation.matrix import AccuracyMatrix
    from adaptinf.report import write_report

    file = run / "matrix.json"
    if not file.is_file():
        raise UserError("no matrix.json here", where=str(run), hint="give the folder of a run")
    print(AccuracyMatrix.from_json(file.read_text()).table())
    print(f"report: {write_report(run, out).resolve()}")
