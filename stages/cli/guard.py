"""What all commands share: how mistakes of a user, a full disk, and a stop are answered."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import typer

from adaptinf.disk import full_disk
from adaptinf.errors import UserError
from adaptinf.notice import Interrupted

DEBUG = typer.Option("--debug", help="Show the traceback of an error.")

RESUMES = "stopped; the same command goes on from here"
LEAVES_WHOLE = "stopped; no file is half written"

Command = Callable[..., None]


def umbrella(about: str) -> typer.Typer:
    """A program that has commands below it, still without any: ``app.command(name)`` adds one."""
    app = _app(no_args_is_help=True)

    # With a callback, typer asks for the name of a command even where there is only one.
    @app.callback(help=about)
    def callback() -> None: ...

    return app


def single(command: Command, *, interrupted: str) -> Callable[[], None]:
    """A program of that one command."""
    app = _app()
    app.command()(guarded(command, interrupted))
    return app


def guarded(command: Command, interrupted: str) -> Command:
    """The command with a user's mistakes told in lines, and a stop answered with what it means.

    A stop by Ctrl-C is status 130. One by notice is status 0: the machine asked for it, and whoever
    started the command is to see it as no failure.
    """

    @wraps(command)
    def wrapped(*, debug: bool, **arguments: Any) -> None:
        try:
            command(debug=debug, **arguments)
        except Exception as error:
            told = error if isinstance(error, UserError) else full_disk(error)
            if debug or told is None:
                raise
            print(*told.lines, sep="\n", file=sys.stderr)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            print(interrupted, file=sys.stderr)
            raise typer.Exit(130) from None
        except Interrupted:
            print(interrupted, file=sys.stderr)
            raise typer.Exit(0) from None

    return wrapped


def _app(**settings: Any) -> typer.Typer:
    return typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, **settings
    )
