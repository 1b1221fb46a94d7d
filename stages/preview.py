"""``--dry-run``: what a recipe means, what would run, what it would cost; nothing is trained."""

from __future__ import annotations

import tempfile
import textwrap
from collections import Counter
from collections.abc import Sequence
from itertools import groupby, zip_longest
from pathlib import Path

from adaptinf.console import count_text, table
from adaptinf.console.text import printable
from adaptinf.data.masks import masked, masked_text
from adaptinf.data.sample import Sample
from adaptinf.errors import UserError
from adaptinf.evaluation.benchmarks import Benchmark
from adaptinf.report.rows import ShownSet, write_rows_page
from config import Recipe, resolved_yaml
from stages.bill import bill_of, bill_text
from stages.context import Context
from stages.display import first_seeing, shown_set
from stages.forecast import forecast
from stages.look import TaskLook, look_at
from stages.manager import open_context
from stages.outlook import coming_outlook
from stages.run_recipe import for_its_run
from stages.walk import StepWorks, plan_walk
from stages.work import Work, is_done

_INDENT = "  "
_WIDTH = 100


class _Unbegun(Context):
    """The context of a run that has no stage yet: no fingerprint can match, so none is computed."""

    model_fingerprint = ""

    def file_digest(self, path: Path) -> str:
        return ""

    def benchmark_inputs(self, benchmark: Benchmark) -> dict[str, str]:
        return {"questions": ""}


def open_look(recipe: Recipe, scratch: Path) -> Context:
    """The context for a look at a run that writes into ``scratch`` alone."""
    context = open_context(recipe, scratch)
    if (recipe.output_dir / "steps").is_dir():
        return context
    return _Unbegun(recipe, context.data_root, scratch)


def preview(recipe: Recipe, page: Path | None = None) -> str:
    """The whole preview as text, at most 100 columns wide but for long values of the recipe.

    Loads no weights and writes nothing into the run folder: the embedded world and images that
    come inside annotations go into a temporary folder. Of each dataset the rows are counted and
    the first few hundred read; ``page`` is where some of them are shown with their images.

    Raises:
        UserError: a dataset, benchmark or model cannot be used.
    """
    recipe = for_its_run(recipe)
    with tempfile.TemporaryDirectory() as scratch:
        context = open_look(recipe, Path(scratch))
        looks = [look_at(context, task.label) for task in recipe.tasks]
        if page is not None:
            write_rows_page(page, recipe.output_dir.name, [_shown(context, look) for look in looks])
        walk = plan_walk(context)
        scored = any(works.featurize for works in walk)
        context.ready_benchmarks({benchmark.name for benchmark in context.benchmarks})
        passes = forecast(context, _mixed(looks), scored=scored)
        taught = {
            "tasks, in order": _tasks(looks),
            "first samples ([[ ]] carries the loss)": _samples(context, looks),
        }
        sections = {
            "recipe": resolved_yaml(recipe),
            **(taught if looks else {}),
            "stages": _stages(walk),
            **({"to be expected": expected} if (expected := coming_outlook(context, walk)) else {}),
            "bill (an estimate)": bill_text(bill_of(context, looks, walk, passes)),
        }
    return "\n\n".join(
        f"{title}\n{textwrap.indent(text.rstrip(), _INDENT)}" for title, text in sections.items()
    )


def _shown(context: Context, look: TaskLook) -> ShownSet:
    return shown_set(
        look.label,
        look.pool,
        context.collator,
        read=look.seen,
        problems=look.problems,
        notes=look.noted,
    )


def _mixed(looks: Sequence[TaskLook]) -> list[Sample]:
    """The first rows of all tasks in turn, so that any beginning of the list is a fair mix."""
    rows = zip_longest(*([(k, i) for i in range(len(k.pool))] for k in looks))
    return [look.pool.sample(i) for turn in rows for look, i in filter(None, turn)]


def _tasks(looks: Sequence[TaskLook]) -> str:
    rows = [
        [
            str(step),
            look.label,
            count_text(look.rows),
            "-" if look.limit is None else count_text(look.limit),
            count_text(look.usable),
            f"{look.tokens:.0f}",
            _problems(look),
        ]
        for step, look in enumerate(looks, 1)
    ]
    header = ["step", "task", "rows", "limit", "usable", "tokens", "unusable among the first"]
    return table(rows, header, width=_WIDTH - len(_INDENT))


def _problems(look: TaskLook) -> str:
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(look.problems.items()))
    return f"{count_text(look.seen)}: {told or 'none'}"


def _samples(context: Context, looks: Sequence[TaskLook]) -> str:
    return "\n".join(f"{look.label}\n{_sample(context, look)}" for look in looks)


def _sample(context: Context, look: TaskLook) -> str:
    lines = printable(masked_text(masked(context.collator, first_seeing(look.pool)))).splitlines()
    wrapped = (textwrap.wrap(line, _WIDTH - 3 * len(_INDENT)) for line in lines)
    return textwrap.indent("\n".join(line for part in wrapped for line in part), 2 * _INDENT)


def _stages(walk: Sequence[StepWorks]) -> str:
    """One line per stage of each step, its benchmarks in one; then what would stop the run."""
    rows = []
    for works in walk:
        names = [works.step.name]
        for stage, group in groupby(works.ordered, key=lambda work: work.stage):
            same = list(group)
            status = _evaluations(same) if stage == "evaluate" else _together(same)
            rows.append([names.pop() if names else "", stage, status])
    told = table(rows, ["step", "stage", "status"], width=_WIDTH - len(_INDENT))
    drifted = [work for works in walk for work in works.ordered if work.is_drifted()]
    return f"{told}\n\n{_refusal(drifted[0])}" if drifted else told


def _status(work: Work) -> str:
    if work.is_drifted():
        return "made with another recipe"
    return "done" if is_done(work) else "to do"


def _together(works: Sequence[Work]) -> str:
    """The status of a stage that may be of several works."""
    counts = Counter(map(_status, works))
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def _evaluations(works: Sequence[Work]) -> str:
    counts = Counter(map(_status, works))
    others = [f"{n} {name}" for name, n in counts.items() if name not in ("done", "to do")]
    return f"{len(works)} benchmarks: " + ", ".join([f"{counts['done']} done", *others])


def _refusal(work: Work) -> str:
    """What the run would say of a stage that another recipe made."""
    try:
        work.done()
    except UserError as error:
        return f"the run would stop here: {error}"
    return ""
