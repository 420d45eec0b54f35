"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

RunName = Annotated[str, typer.Argument(help="Run id, as `selfreward status` lists it.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Dotted overrides, for example sampling.n=8.")]
Artifacts = Annotated[str | None, typer.Option(help="Root of the artifact store.", show_default="SELFREWARD_ARTIFACTS")]
Folder = Annotated[
    Path, typer.Option(help="Where logs, Redis data and artifacts of the services are.", envvar="SELFREWARD_FOLDER")
]
Json = Annotated[bool, typer.Option("--json", help="Print all of it as JSON, for programs.")]
Rubric = Annotated[str, typer.Option(help="Name or id of one of the judge's rubrics.")]
Votes = Annotated[int, typer.Option(min=1, max=64, help="Judgments sampled for each answer.")]
Policy = Annotated[str | None, typer.Option(help="Judge by this version only, for example policy@3.")]
Seed = Annotated[int | None, typer.Option(help="Repeatable votes: the same seed, the same votes.")]
Resamples = Annotated[int, typer.Option(min=100, help="Bootstrap resamples behind each interval.")]
