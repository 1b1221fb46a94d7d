"""``adaptinf score``: answers of a benchmark by its own rules; needs no model, or one to judge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from stages.cli.guard import DEBUG


def score_answers(
    benchmark: Annotated[str, Option(metavar="NAME", help="As in vqav2; see docs/scoring.md.")],
    answers: Annotated[
        Path, Option(metavar="FILE", help="JSON Lines with question_id and text, as LLaVA's are.")
    ],
    labels: Annotated[Path, Option(metavar="PATH", help="The benchmark's own file or folder.")],
    rules: Annotated[
        str | None, Option(metavar="NAME", help="Where rules differ. [default: the first known]")
    ] = None,
    upload: Annotated[
        Path | None,
        Option(metavar="FILE", help="Write what the benchmark's server takes (MME: a folder)."),
    ] = None,
    judge: Annotated[
        str | None, Option(metavar="URL", help="Of a model that judges, where one is needed.")
    ] = None,
    judge_model: Annotated[
        str | None, Option(metavar="NAME", help="The model to ask there.")
    ] = None,
    verdicts: Annotated[
        Path | None, Option(metavar="FILE", help="Keeps what it says. [default: beside answers]")
    ] = None,
    json: Annotated[bool, Option("--json", help="Print it as JSON.")] = False,
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """Score answers by the official rules of a published benchmark."""
    from adaptinf.scoring.result import find_benchmark, score_files
    from stages.scores import described
    from stages.uploads import score_and_upload

    if upload is not None:
        outcome, uploaded = score_and_upload(benchmark, answers, labels, rules, upload)
        print(described(outcome, uploaded, as_json=json))
    elif judge or judge_model or verdicts or find_benchmark(benchmark, rules)[0].judged:
        from stages.judging import Order, score_judged

        order = Order(benchmark, answers, labels, rules, judge, judge_model, verdicts)
        print(described(score_judged(order), as_json=json))
    else:
        print(described(score_files(benchmark, answers, labels, rules), as_json=json))
