"""What all commands share: how a user's mistakes and Ctrl-C are answered."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import typer

from adaptinf.errors import UserError

DEBUG = typer.Option("--debug", help="Show the traceback of an error.")

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
    """The command with a user's mistakes told in lines, and Ctrl-C answered with what it means."""

    @wraps(command)
    def wrapped(*, debug: bool, **arguments: Any) -> None:
        try:
            command(debug=debug, **arguments)
        except UserError as error:
            if debug:
                raise
            print(*error.lines, sep="\n", file=sys.stderr)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            print(interrupted, file=sys.stderr)
            raise typer.Exit(130) from None

    return wrapped


def _app(**settings: Any) -> typer.Typer:
    return typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, **settings
    )
