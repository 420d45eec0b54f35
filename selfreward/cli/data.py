"""`selfreward data`: seed files."""

from pathlib import Path
from typing import Annotated

import typer

from selfreward.cli.output import say, stderr

commands = typer.Typer(no_args_is_help=True, help="Seed files: what they hold, and other formats as seed files.")
_SHOWN = 10


@commands.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="Files of rows, .jsonl or .parquet.", metavar="FILE...")],
    model: Annotated[
        Path | None, typer.Option(help="Base model: also try each row with its chat template, as a run does.")
    ] = None,
) -> None:
    """Say of each file how many rows it has, in which format, what a recipe can use it for, and what is wrong in it.

    Formats are prompt/response, TRL's prompt/completion, messages, ShareGPT (conversations), Alpaca (instruction,
    input, output), and ranked answers (prompt, responses).

    Example: selfreward data check seed/*.jsonl --model models/base

    Exit status: 0 all can be used, 1 something is wrong in a row, 2 a file cannot be read.
    """
    from selfreward.files.seed_files import check_seed_file
    from selfreward.loop.seed.read import Check, accept

    refuse: Check = accept
    if model is not None:
        from selfreward.loop.seed.chat_template import check_of

        refuse = check_of(model) or accept
        if refuse is accept:
            say(f"{model} has no chat template: a trainer would refuse it; add chat_template.jinja")
    wrong = 0
    for path in files:
        found = check_seed_file(path, refuse)
        formats = ", ".join(f"{count:,} of {name}" for name, count in found.formats.most_common())
        uses = " or ".join(f"data.{use}" for use in found.uses)
        say(f"{path}: {found.rows:,} rows, {formats}{f'; for {uses}' if uses else ''}")
        for problem in found.problems[:_SHOWN]:
            stderr.print(problem, markup=False, highlight=False, soft_wrap=True)
        if len(found.problems) > _SHOWN:
            stderr.print(f"... and {len(found.problems) - _SHOWN:,} more in {path}", markup=False, soft_wrap=True)
        wrong += len(found.problems)
    raise typer.Exit(1 if wrong else 0)


@commands.command()
def convert(
    source: Annotated[Path, typer.Argument(help="A file of rows, .jsonl or .parquet.")],
    out: Annotated[
        Path | None, typer.Option(help="The seed file to write.", show_default="SOURCE with .seed.jsonl")
    ] = None,
) -> None:
    """Write rows of any format that `selfreward data check` knows as a seed file of JSON Lines.

    Example: selfreward data convert train.parquet --out seed/ift.jsonl
    """
    from selfreward.files.seed_files import convert_seed_file

    target = out or source.with_suffix(".seed.jsonl")
    say(f"{target}: {convert_seed_file(source, target):,} rows")
