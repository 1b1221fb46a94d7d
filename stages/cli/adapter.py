"""``adaptinf adapter``: look into an adapter's folder, and take it elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from stages.cli.guard import DEBUG

Folder = Annotated[
    Path, Argument(metavar="FOLDER", help="As in runs/mine/steps/1-shop/train/adapter.")
]
Out = Annotated[Path, Option(metavar="DIR", help="Where to write; must not be there yet.")]
Base = Annotated[
    str | None,
    Option(metavar="NAME", help="Base model. [default: the one that the adapter names]"),
]


def inspect(
    folder: Folder,
    base: Base = None,
    json: Annotated[bool, Option("--json", help="Print it as JSON.")] = False,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """Tell an adapter's kind, what it continues, and its size by part of the model."""
    from adaptinf.adapters.inspection import inspect_adapter
    from stages.exports import base_size, described

    found = inspect_adapter(folder)
    print(described(found, base_size(base or found.base), as_json=json))


def merge(
    folder: Folder,
    out: Out,
    base: Base = None,
    dtype: Annotated[
        str, Option(metavar="TYPE", help="Number type, as in bfloat16. [default: as saved]")
    ] = "auto",
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """Write the base model with the adapter in its weights."""
    from adaptinf.console import quiet_libraries
    from stages.exports import merge_adapter

    quiet_libraries()
    off = merge_adapter(folder, out, base, dtype)
    print(f"model: {out.resolve()}")
    print(f"off by {100 * off:.4f} % of what the adapter changes, by rounding")


def import_original(
    source: Annotated[
        Path, Argument(metavar="SOURCE", help="Folder of a LoRA, DoRA, LLaVA, MixLoRA; projector.")
    ],
    out: Out,
    base: Annotated[
        str | None, Option(metavar="NAME", help="Adapters: LLaVA in Transformers' layout.")
    ] = None,
    vision: Annotated[
        str | None, Option(metavar="NAME", help="Models: CLIP. [default: the one it names]")
    ] = None,
    text: Annotated[
        str | None, Option(metavar="NAME", help="Models: Vicuna, or the folder of its tokenizer.")
    ] = None,
    pad: Annotated[
        bool | None,
        Option("--pad/--no-pad", help="Models: pad images to squares. [default: as it says]"),
    ] = None,
    rank: Annotated[
        int | None, Option(metavar="N", min=1, help="MixLoRA: factors that a row uses.")
    ] = None,
    alpha: Annotated[
        float | None, Option(metavar="X", help="MixLoRA: scale. [default: twice the experts]")
    ] = None,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """Write what others published in layouts of their own as PEFT or Transformers have it."""
    from adaptinf.console import quiet_libraries
    from stages.imports import Order, import_original

    quiet_libraries()
    kind = import_original(Order(source, out, base, vision, text, pad, rank, alpha))
    print(f"{kind}: {out.resolve()}")


def export(
    place: Annotated[
        Path, Argument(metavar="RUN[/STEP]", help="As in runs/mine, or an adapter's folder.")
    ],
    out: Out,
    target: Annotated[
        str, Option("--for", metavar="WHAT", help="One of peft, merged, vllm, lora (plain LoRA).")
    ] = "lora",
    base: Base = None,
    rank: Annotated[
        int | None, Option(metavar="N", min=1, help="DoRA as LoRA: rank. [default: its highest]")
    ] = None,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """Write a run's adapter so that a server can load it, or say what that takes instead."""
    from adaptinf.console import quiet_libraries
    from stages.targets import export_for

    quiet_libraries()
    written = export_for(place, target, out, base, rank)
    kind = "model" if target == "merged" else "adapter"
    print(f"{kind}: {out.resolve()}", *written.notes, sep="\n")
