"""``adaptinf chat``: talk to what a run has trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from stages.cli.guard import DEBUG


def chat(
    run: Annotated[Path, Argument(metavar="RUN", help="Run folder.")],
    settings: Annotated[
        list[str] | None,
        Argument(metavar="model.key=value", help="How the model is loaded, if otherwise."),
    ] = None,
    cli: Annotated[bool, Option("--cli", help="In this terminal instead of a browser.")] = False,
    api: Annotated[
        bool, Option("--api", help="For programs alone, in OpenAI's form, without the page.")
    ] = False,
    port: Annotated[
        int, Option(metavar="P", min=0, max=65535, help="Where to listen; 0: any that is free.")
    ] = 7860,
    host: Annotated[
        str, Option(metavar="ADDRESS", help="Other than this: others may ask, too.")
    ] = "127.0.0.1",
    step: Annotated[
        str, Option(metavar="NAME", help="With --cli: who answers first, as in 2-invoices.")
    ] = "auto",
    max_new_tokens: Annotated[
        int, Option(metavar="N", min=1, help="The longest answer, in tokens.")
    ] = 256,
    max_seconds: Annotated[
        float, Option(metavar="S", min=0.1, help="The longest answer, in seconds.")
    ] = 120.0,
    beams: Annotated[int, Option(metavar="N", min=1, max=16, help="Beam width.")] = 1,
    boxes: Annotated[
        str,
        Option(metavar="FRAME", help="Boxes are in shares, padded, thousandths or pixels."),
    ] = "auto",
    debug: Annotated[bool, DEBUG] = False,
) -> None:
    """Talk to a run's model as it was after any step, in a browser, a terminal or by programs.

    Page and door listen on this machine alone, and answer only those who know the token: that of
    ADAPTINF_API_TOKEN, or one that is drawn and shown.
    """
    from adaptinf.errors import UserError

    if cli and api:
        raise UserError("--cli and --api are two things", hint="give one of them, or none")

    from adaptinf.console import quiet_libraries

    quiet_libraries()
    from adaptinf.chat.talker import Bounds
    from stages.chatting import Wish, serve, speak

    bounds = Bounds(max_new_tokens, max_seconds, beams)
    wish = Wish(run, bounds, boxes, tuple(settings or ()))
    if cli:
        speak(wish, step)
    else:
        serve(wish, host, port, page=not api)
