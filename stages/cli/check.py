"""``adaptinf check``: a dataset as a run would read it, before there is a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from stages.cli.guard import DEBUG

COLUMN = "Ours and its name, as in question=prompt; also answer, image, id, task, skill."


def check_rows(
    dataset: Annotated[str, Argument(metavar="PATH", help="File, folder, or a known name.")],
    format: Annotated[
        str | None, Option(metavar="NAME", help="[default: found by looking]")
    ] = None,
    images: Annotated[
        Path | None, Option(metavar="DIR", help="Where image paths start. [default: beside it]")
    ] = None,
    column: Annotated[list[str] | None, Option(metavar="OURS=NAME", help=COLUMN)] = None,
    model: Annotated[
        str, Option(metavar="NAME", help="Whose processor measures the rows.")
    ] = "tiny",
    rows: Annotated[int, Option(metavar="N", min=1, help="Usable rows to read.")] = 1000,
    strict: Annotated[bool, Option("--strict", help="Stop at the first unusable row.")] = False,
    page: Annotated[
        Path | None, Option(metavar="FILE", help="Write an HTML page of rows with their images.")
    ] = None,
    root: Annotated[
        Path,
        Option(metavar="DIR", envvar="ADAPTINF_DATA_ROOT", help="Folder of the known datasets."),
    ] = Path("data"),
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """Say what a run would make of a dataset: how many rows, what is wrong, what is trained."""
    from adaptinf.console import quiet_libraries
    from stages.check import Request, check_dataset, columns_of

    quiet_libraries()
    columns = columns_of(column or ())
    request = Request(dataset, format, images, columns, model, rows, strict, page)
    print(check_dataset(request, root))
    if page is not None:
        print(f"\npage: {page.resolve()}")
