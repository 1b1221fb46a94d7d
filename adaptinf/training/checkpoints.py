"""The Trainer's checkpoints inside a running stage: hash-checked, loaded only when whole."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from adaptinf.distributed import Ranks
from adaptinf.files import write_atomically

_SEAL = "sealed.json"


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != _SEAL
    }


class SealCheckpoints(TrainerCallback):
    """Writes the hashes of a checkpoint's files after the last of them, whichever rank's it is."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Seal the checkpoint that was just written."""
        self._ranks.meet()
        if self._ranks.leads:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            write_atomically(folder / _SEAL, json.dumps(_digests(folder), indent=1))
        self._ranks.meet()


def last_sealed(folder: Path, ranks: Ranks) -> Path | None:
    """The newest checkpoint whose files equal their seal; broken or unsealed ones are removed.

    A checkpoint holds pickles of torch and so is only ever loaded from the run that wrote it.
    """
    newest = _newest(folder) if ranks.leads else None
    ranks.meet()
    return newest if ranks.leads else _newest(folder)


def step_of(checkpoint: Path | None) -> int:
    """The step of the optimiser that a checkpoint is of; 0 for the beginning.

    -1 of a folder that no training names so.
    """
    number = checkpoint.name.rsplit("-", 1)[1] if checkpoint else "0"
    return int(number) if number.isdecimal() else -1


def _newest(folder: Path) -> Path | None:
    """The newest whole one. What is newer goes, as does all that a kill has left half written."""
    newest: Path | None = None
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True):
        if newest is None and _is_whole(checkpoint):
            newest = checkpoint
        elif newest is None or not (checkpoint / _SEAL).is_file():
            shutil.rmtree(checkpoint)
    return newest


def _is_whole(checkpoint: Path) -> bool:
    try:
        seal = json.loads((checkpoint / _SEAL).read_text())
    except (OSError, ValueError):
        return False
    return bool(seal == _digests(checkpoint))
