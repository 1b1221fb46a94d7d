"""``run-lifelong``: a whole run from one recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adaptinf.notice import Notice
from stages.cli.guard import DEBUG, RESUMES


def run_lifelong(
    recipe: Annotated[Path, typer.Argument(help="Recipe (YAML).")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings, as in select.budget=5000.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run, and what it costs; run nothing.")
    ] = False,
    page: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --dry-run: an HTML page of rows and their images."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first row that cannot be used.")
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
    from adaptinf.distributed import Ranks
    from config import load_recipe

    settings = load_recipe(recipe, [*(overrides or ()), *(["data.strict=true"] if strict else ())])
    quiet_libraries()
    if dry_run:
        from stages.preview import preview

        print(preview(settings, page))
        if page is not None:
            print(f"\npage: {page.resolve()}")
        return
    with Notice().listening(RESUMES) as notice:
        from stages.manager import follow
        from stages.manager import run_lifelong as run

        if not Ranks.of_launch().leads:
            follow(settings, notice, fresh=fresh)
            return
        settings.output_dir.mkdir(parents=True, exist_ok=True)
        console = make_console(settings.output_dir / "events.jsonl")
        finished = run(settings, console, fresh=fresh, notice=notice)
    if not finished.performed:
        console.line("nothing to do: every stage of this recipe is done")
    print(finished.table)
    print(f"report: {finished.report.resolve()}")
