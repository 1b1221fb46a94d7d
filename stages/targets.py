"""A step's adapter for a server: what each kind of server takes, and folders that it can load."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from adaptinf.adapters.inspection import Inspection, inspect_adapter
from adaptinf.errors import UserError, suggestion
from adaptinf.models.loading import load_processor
from adaptinf.models.preprocessing import preprocessing, require_preprocessing
from stages.context import step_number
from stages.exports import export_lora, merge_adapter, source_of

VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM's ``--max-lora-rank`` may be."""

PROCESSOR = "processor"
"""The folder, in that of an exported adapter, of the processor that it was scored with."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and ``notes``: lines on how to serve it and how far off it is."""

    folder: Path
    notes: tuple[str, ...] = ()


def export_for(
    place: Path, target: str, out: Path, base: str | None = None, rank: int | None = None
) -> Exported:
    """Write ``out`` for a target: ``peft``, ``merged``, ``vllm`` or ``lora`` (plain LoRA).

    ``place`` is a run (its newest adapter), a step of it, or an adapter's folder.

    Raises:
        UserError: an unknown target, or one that cannot serve such an adapter, with what can.
    """
    if target not in _WRITERS:
        hint = suggestion(target, _WRITERS)
        raise UserError("unknown target", where="--for", seen=target, hint=hint)
    folder = adapter_folder(place)
    found = inspect_adapter(folder)
    if target != "merged":
        _require_on_base(folder, found)
    return Exported(out, tuple(_WRITERS[target](folder, found, out, base, rank)))


def adapter_folder(place: Path) -> Path:
    """The adapter's folder that a run, a step or itself names.

    Raises:
        UserError: there is none.
    """
    if (place / "adapter_config.json").is_file():
        return place
    if (place / "train" / "adapter").is_dir():
        return place / "train" / "adapter"
    trained = [file.parent for file in place.glob("steps/*/train/DONE")]
    newest = max(trained, key=lambda folder: step_number(folder.parent.name), default=None)
    if newest is None or step_number(newest.parent.name) < 0:
        hint = "give runs/mine, runs/mine/steps/1-shop, or a folder with adapter_config.json"
        raise UserError("no trained adapter here", where=str(place), hint=hint)
    return newest / "adapter"


def _require_on_base(folder: Path, found: Inspection) -> None:
    if found.lineage.get("merged"):
        raise UserError(
            "the adapter stands on a base model with earlier adapters in its weights",
            where=str(folder),
            seen=found.lineage["merged"],
            hint="export it with --for merged",
        )


def _peft(
    folder: Path, found: Inspection, out: Path, base: str | None, rank: int | None
) -> list[str]:
    """The folder as it is, for whoever has PEFT."""
    if found.route in ("mixlora", "adem"):
        raise _refusal(found, "PEFT knows no such adapter without this project", folder)
    from adaptinf.folders import whole

    with whole(out) as draft:
        shutil.copytree(folder, draft, dirs_exist_ok=True)
        _complete(folder, found, draft, base)
    return []


def _merged(
    folder: Path, found: Inspection, out: Path, base: str | None, rank: int | None
) -> list[str]:
    off = merge_adapter(folder, out, base)
    return [f"off by {100 * off:.4f} % of what the adapter changes, by rounding"]


def _plain(
    folder: Path, found: Inspection, out: Path, base: str | None, rank: int | None
) -> list[str]:
    error = export_lora(folder, out, base, rank)
    _complete(folder, found, out, base)
    return [] if error is None else [f"error: {100 * error:.1f} % of what the adapter changes"]


def _vllm(
    folder: Path, found: Inspection, out: Path, base: str | None, rank: int | None
) -> list[str]:
    """LoRA of one rank and one scale on the text layers: vLLM looks at no others."""
    from adaptinf.adapters.uniform import write_uniform
    from adaptinf.folders import whole

    if found.route != "lora":
        raise _refusal(found, f"vLLM serves no adapter of route {found.route}", folder)
    outside = [share.part for share in found.shares if share.tensors and share.part != "text"]
    if outside or found.settings.get("modules_to_save"):
        raise UserError(
            "vLLM serves adapters of text layers alone",
            where=str(folder),
            seen=", ".join(outside) or found.settings["modules_to_save"],
            hint="export it with --for merged",
        )
    with whole(out) as draft:
        highest = write_uniform(folder, draft)
        fitting = [rank for rank in VLLM_RANKS if rank >= highest]
        if not fitting:
            raise UserError(
                f"vLLM serves LoRA up to rank {VLLM_RANKS[-1]}",
                where=str(folder),
                seen=highest,
                hint="export it with --for merged",
            )
        _complete(folder, found, draft, base)
    return [f"vllm serve BASE --enable-lora --max-lora-rank {fitting[0]} --lora-modules NAME={out}"]


def _complete(folder: Path, found: Inspection, out: Path, base: str | None) -> None:
    """Add the lineage and the processor, which has to be that of the training, and the base."""
    source = source_of(folder, found, base)
    processor = load_processor(source)
    require_preprocessing(folder, preprocessing(processor))
    processor.save_pretrained(out / PROCESSOR)
    if (folder / "lineage.json").is_file():
        shutil.copy2(folder / "lineage.json", out / "lineage.json")
    if base is not None:
        file = out / "adapter_config.json"
        told = json.loads(file.read_text()) | {"base_model_name_or_path": base}
        file.write_text(json.dumps(told, indent=2) + "\n")


def _refusal(found: Inspection, what: str, folder: Path) -> UserError:
    ways = {
        "dora": "--for merged is exact; --for lora writes the nearest plain LoRA, with its error",
        "full": "export it with --for merged",
        "mixlora": "--for lora writes the mean route, with its error; itself it is served by"
        " adaptinf chat RUN --api",
        "adem": "serve it with adaptinf chat RUN --api",
    }
    hint = ways.get(found.route, "export it with --for peft")
    return UserError(what, where=str(folder), seen=found.route, hint=hint)


_Writer = Callable[[Path, Inspection, Path, str | None, int | None], list[str]]

_WRITERS: dict[str, _Writer] = {"peft": _peft, "merged": _merged, "vllm": _vllm, "lora": _plain}

TARGETS = tuple(_WRITERS)
