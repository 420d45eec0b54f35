"""`selfreward init`: a recipe and seed files to begin with."""

from pathlib import Path
from typing import Annotated

import typer

from selfreward.cli.output import say


def init(
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    method: Annotated[
        str, typer.Option(help="How pairs are made (docs/methods.md); the seed paper's by default.")
    ] = "",
    model: Annotated[str, typer.Option(help="Base model: a checkpoint folder in Hugging Face layout.")] = "models/base",
    rubric: Annotated[str, typer.Option(help="Rubric of the judge.")] = "additive5",
) -> None:
    """Write a commented recipe and small example seed files, which run as they are and are there to be replaced.

    Examples: selfreward init mine --model models/Qwen2.5-0.5B-Instruct; selfreward init mine --method spin (no judge)
    """
    from selfreward.files.first_recipe import write_first_recipe
    from selfreward.loop.seed.chat_template import check_of

    path = write_first_recipe(folder, method, model, rubric, check_of(Path(model)))
    for file in (path, *sorted((folder / "seed").iterdir())):
        say(str(file))
    say(f"next: selfreward doctor {path}, selfreward up, and in another terminal selfreward run {path}")
