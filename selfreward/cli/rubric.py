"""`selfreward rubric`: check rubrics of your own."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from selfreward.cli.output import stderr

commands = typer.Typer(no_args_is_help=True, help="Rubrics of your own (docs/rubrics.md).")


@commands.callback()
def rubric() -> None:
    """Without a callback the only command would take the place of the group."""


@commands.command()
def check(
    folders: Annotated[list[Path], typer.Argument(help="Rubrics, or folders of rubrics.", metavar="DIR...")],
    trained: Annotated[
        bool, typer.Option("--trained", help="The judge was trained to write its verdict without being asked.")
    ] = False,
) -> None:
    """Check rubrics as the judge would, and warn of what candidates could forge.

    A template that never asks for the verdict is refused. Exit status: 0 all can be used, 1 one is refused.

    Example: selfreward rubric check my-rubrics/
    """
    if importlib.util.find_spec("services") is None:
        stderr.print("the judge is not in the package: run `selfreward rubric check` in a checkout")
        raise typer.Exit(2)
    # In a process of its own, since the library imports no service.
    command = [sys.executable, "-m", "services.judge.rubrics.check", *map(str, folders)]
    raise typer.Exit(subprocess.run([*command, *(["--trained"] if trained else [])]).returncode)
