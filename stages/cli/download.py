"""``download-datasets``: the known datasets, onto disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from stages.cli.guard import DEBUG


def download_datasets(
    names: Annotated[
        list[str] | None, Argument(metavar="[NAME]...", help="As in recipes. [default: all]")
    ] = None,
    dataset: Annotated[
        list[str] | None, Option(metavar="NAME", help="The same as NAME; repeatable.")
    ] = None,
    root: Annotated[
        Path, Option(metavar="DIR", envvar="ADAPTINF_DATA_ROOT", help="Folder of all datasets.")
    ] = Path("data"),
    benchmarks: Annotated[
        bool, Option("--benchmarks", help="Benchmarks, as adaptinf evaluate wants them.")
    ] = False,
    limit: Annotated[
        int | None, Option(metavar="N", min=1, help="Only the images of the first N rows of each.")
    ] = None,
    dry_run: Annotated[bool, Option("--dry-run", help="Tell what is to come, and stop.")] = False,
    check: Annotated[bool, Option("--check", help="Check what has come, and stop.")] = False,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """Fetch datasets from where they are published; given again, it goes on where it was.

    Tells what comes, how large it is and under which licence before it begins. A recipe finds the
    datasets where data.root, or ADAPTINF_DATA_ROOT, is this folder.
    """
    from adaptinf.data.download import names_or_all
    from adaptinf.errors import UserError
    from stages import downloads

    if benchmarks and limit is not None:
        raise UserError("--limit is of datasets", hint="adaptinf evaluate has a --limit of its own")
    catalogue = downloads.catalogue_of(benchmarks)
    wanted = names_or_all([*(names or ()), *(dataset or ())], catalogue)
    if check:
        downloads.check(root, wanted, benchmarks=benchmarks)
    else:
        downloads.download(root, wanted, benchmarks=benchmarks, limit=limit, dry_run=dry_run)
