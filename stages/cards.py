"""The cards of a run's adapters: in each adapter's folder, and with its results in each step's."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from adaptinf.data.catalogue import CATALOGUE
from adaptinf.data.pool import places, read_pool
from adaptinf.evaluation.matrix import AccuracyMatrix
from adaptinf.files import write_atomically
from adaptinf.training.card import Card, Result, Share
from stages.context import Context, Step
from stages.record import file_digest, read_record

CARD = "README.md"

_HUB = "https://huggingface.co/datasets/"
_CONFIGURATION = "adapter_config.json"


def write_training_card(context: Context, step: Step, adapter: Path) -> None:
    """Write the card into the folder of an adapter that was trained just now."""
    write_atomically(adapter / CARD, _card(context, step, adapter).text())


def write_step_card(context: Context, step: Step, matrix: AccuracyMatrix) -> None:
    """Write the card of a step that was evaluated, with its ``matrix`` row, where it is new."""
    folder = context.run / "steps" / step.name
    upto = step.index + 1
    seen = AccuracyMatrix(matrix.steps[:upto], matrix.benchmarks, matrix.scores[:upto])
    card = _card(context, step, folder / "train/adapter")
    record = read_record(folder / "train")
    hashes = {"training, with all it came from": record["fingerprint"]} if record else {}
    results = [Result(p.name, p.first, p.last, p.drop) for p in seen.per_benchmark()]
    card = replace(
        card,
        place="train/adapter",
        results=results,
        forgetting=seen.forgetting("max-drop"),
        hashes={**card.hashes, **hashes},
    )
    text, file = card.text(), folder / CARD
    if not file.is_file() or file.read_bytes() != text.encode():
        write_atomically(file, text)


def trained_shares(step: Path) -> list[Share]:
    """The rows of a step's selection by dataset, source and licence, in the order of these."""
    table = pq.read_table(step / "select/selection.parquet")
    names = ("dataset", "source", "licence")
    if not set(names) <= set(table.column_names):  # of the first release
        pool = read_pool(step / "ingest/pool.parquet")
        table = pool.take(places(table["uid"].to_pylist(), pool.uids)).table
    return _shares(Counter(zip(*(table[name].to_pylist() for name in names), strict=True)))


def _shares(counts: Mapping[tuple[str, str | None, str | None], int]) -> list[Share]:
    order = sorted(counts, key=lambda told: [text or "" for text in told])
    return [
        Share(name, source, licence, counts[name, source, licence])
        for name, source, licence in order
    ]


def _card(context: Context, step: Step, adapter: Path) -> Card:
    recipe = context.recipe
    config = json.loads((adapter / _CONFIGURATION).read_text())
    lineage = json.loads((adapter / "lineage.json").read_text())
    steps = context.run / "steps"
    shares = trained_shares(steps / step.name)
    before = (
        context.steps[: step.index - 1] if recipe.adapter.across_steps != "new_per_task" else []
    )
    earlier = _added([trained_shares(steps / one.name) for one in before])
    return Card(
        base=recipe.model.name,
        revision=recipe.model.revision,
        route=recipe.adapter.route,
        load_with=config.get("load_with") or "",
        kind=str(config.get("peft_type")),
        step=step.name,
        lineage={
            "step": step.name,
            "continues": lineage["continues"] or "nothing, it began fresh",
            **({"on top of, merged": ", ".join(lineage["merged"])} if lineage["merged"] else {}),
        },
        shares=shares,
        earlier=earlier,
        hubs=_hubs([*earlier, *shares]),
        recipe={
            "selection": f"{recipe.select.method}, a budget of {recipe.select.budget} rows",
            **_rehearsed(lineage),
            "adapter": f"{recipe.adapter.route}, r {recipe.adapter.r}, across steps"
            f" {recipe.adapter.across_steps}",
            "training": f"{recipe.train.epochs:g} epochs, batches of {recipe.train.batch_size},"
            f" learning rate {recipe.train.learning_rate:g}",
            "licences let in": recipe.data.licences,
            "seed": recipe.seed,
        },
        hashes={
            name: _digest(adapter.parent, f"{adapter.name}/{name}")
            for name in ("adapter_model.safetensors", _CONFIGURATION)
        }
        | {"base model, weights": context.model_fingerprint}
        | {"selection.parquet": _digest(steps / step.name / "select", "selection.parquet")},
    )


def _rehearsed(lineage: Mapping[str, Any]) -> dict[str, str]:
    """What is to be said of rows that the model has made itself; nothing where there are none."""
    rows = lineage.get("rehearsed", 0)
    told = f"{rows} rows: questions of earlier steps about images of this one, answered by the"
    return {"rehearsal": f"{told} model before it"} if rows else {}


def _digest(stage: Path, name: str) -> str:
    """SHA-256 of a file of a stage: as its record has it, or while it has none yet, of the file."""
    recorded = (read_record(stage) or {}).get("outputs", {}).get(name)
    return recorded or file_digest(stage / name)


def _added(parts: Sequence[Sequence[Share]]) -> list[Share]:
    """The shares of several steps together."""
    counts: Counter[tuple[str, str | None, str | None]] = Counter()
    for share in (share for part in parts for share in part):
        counts[share.dataset, share.source, share.licence] += share.rows
    return _shares(counts)


def _hubs(shares: Sequence[Share]) -> list[str]:
    """Datasets as a hub knows them, where it does; else by their name in the run."""
    names = []
    for share in shares:
        entry = CATALOGUE.get((share.source or "").partition("/")[0])
        on_hub = entry is not None and entry.page.startswith(_HUB)
        names.append(entry.page.removeprefix(_HUB) if entry and on_hub else share.dataset)
    return sorted(set(names))
