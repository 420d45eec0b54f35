"""`selfreward rubric`: check rubrics of your own."""

from pathlib import Path
from typing import Annotated

import typer

from selfreward.cli.checkout import run_of_the_judge

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
    arguments = [*map(str, folders), *(["--trained"] if trained else [])]
    raise typer.Exit(run_of_the_judge("services.judge.rubrics.check", "selfreward rubric check", *arguments))
