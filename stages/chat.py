"""``adaptinf chat``: a run's model as it was after each step, ready to be talked to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptinf.adapters.inspection import inspect_adapter
from adaptinf.chat.choice import Chooser
from adaptinf.chat.experience import experience_of
from adaptinf.chat.learning import learn
from adaptinf.chat.talker import BASE, Talker
from adaptinf.errors import UserError
from config import Recipe
from stages.context import Context, encoder_of, step_number
from stages.integrity import inspect_stage
from stages.lock import is_locked
from stages.record import digest_of, outputs_digest
from stages.reports import write_run_report
from stages.run_recipe import recipe_of

FOLDER = "chat"

Advance = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training: the adapter that it wrote, and those in the weights below."""

    step: str
    merged_folders: tuple[Path, ...]
    folder: Path | None


class RunModels:
    """The context's one model, which is put into the state of one step at a time.

    Where adapters are merged into the weights, an earlier step takes loading the base model again.
    """

    def __init__(self, context: Context, trained: list[Trained]) -> None:
        self.steps = (BASE, *(one.step for one in trained))
        self._context = context
        self._trained = {one.step: one for one in trained}
        self._alone = threading.Lock()

    @contextmanager
    def at(self, step: str) -> Iterator[Any]:
        """The model after a step; it stays so until another one is asked for."""
        model, one = self._context.model, self._trained.get(step)
        with self._alone, model.adapted(one) if one else model.bare() as state:
            yield state

    def close(self) -> None:
        """Let go of the model, once nobody is answered any more."""
        with self._alone:
            self._context.model.forget()


@contextmanager
def open_chat(
    run: Path, advance: Advance = lambda done, total: None, settings: Sequence[str] = ()
) -> Iterator[Talker]:
    """The models of a run, with what chooses among them, for as long as this is open.

    The chooser is learned once and kept in the run's folder ``chat``; ``advance`` is told of it.
    ``settings`` (``model.dtype=bfloat16``) load the base model otherwise than the run did.

    Raises:
        UserError: no run, none of its trainings finished, one that is damaged, or a setting of
            something else than how the model is loaded.
    """
    context = Context(_recipe(run, settings), run)
    models = RunModels(context, _trained(run))
    encoder = encoder_of(context.model_source)
    with closing(models):
        yield Talker(models, encoder, _chooser(run, models, encoder, advance))


def _recipe(run: Path, settings: Sequence[str]) -> Recipe:
    for setting in settings:
        if not setting.startswith("model.") or setting.startswith("model.name"):
            hint = "give model.dtype=bfloat16 or its like"
            raise UserError("no setting of how the model is loaded", seen=setting, hint=hint)
    return recipe_of(run, settings)


def _trained(run: Path) -> list[Trained]:
    """The finished trainings in their order.

    Raises:
        UserError: there is none, or one is not as it was written.
    """
    written = run.glob("steps/*/train/DONE")
    done = sorted(written, key=lambda file: step_number(file.parents[1].name))
    if not done:
        hint = "wait for the first step's training, or give another run"
        raise UserError("no step of this run is trained yet", where=str(run), hint=hint)
    found = []
    for folder in (file.parent for file in done):
        if not inspect_stage(folder).is_sound:
            hint = "adaptinf verify tells what; run-lifelong makes it anew"
            raise UserError("not as it was written", where=str(folder), hint=hint)
        below = inspect_adapter(folder / "adapter").lineage.get("merged", [])
        merged = tuple(run / "steps" / step / "train" / "adapter" for step in below)
        found.append(Trained(folder.parent.name, merged, folder / "adapter"))
    return found


def _chooser(run: Path, models: RunModels, encoder: Any, advance: Advance) -> Chooser | None:
    """What was learned before from the same steps, or what is learned now; None of too little."""
    evaluated = sorted(file.parent for file in run.glob("steps/*/evaluate/*/DONE"))
    key = digest_of([str(models.steps), *map(outputs_digest, evaluated)])
    known = Chooser.load(run / FOLDER, key)
    if known or not (run / "matrix.json").is_file():
        return known
    experience = experience_of(run)
    if experience.steps != models.steps:
        return None  # a step that is trained and not yet evaluated
    with models.at(BASE) as model:
        learned = learn(experience, model, encoder, advance)
    if learned is None:
        return None
    chooser, measured = learned
    # A run that may only be read is talked to all the same, and learned from at every start.
    with suppress(OSError):
        chooser.save(run / FOLDER, key, measured.json() if measured else None)
        if not is_locked(run) and (run / "report.html").is_file():
            write_run_report(run)  # which tells how well it chooses
    return chooser
