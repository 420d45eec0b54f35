"""`selfreward keys`: make an API key."""

from typing import Annotated

import typer

from selfreward.cli.output import stderr

commands = typer.Typer(no_args_is_help=True, help="API keys of the services (docs/access.md).")


@commands.callback()
def keys() -> None:
    """Without a callback the only command would take the place of the group."""


@commands.command()
def new(
    name: Annotated[str, typer.Argument(help="Who will use it; shown in logs, metrics and messages.")],
    scope: Annotated[list[str], typer.Option(help="What it may do; may be given again: infer, judge, run, admin.")],
) -> None:
    """Make a key, print it this once, and print what to add to the file that SELFREWARD_KEYS names."""
    from pydantic import ValidationError

    from selfreward.contracts.base import explain
    from selfreward.server.keys import Key, fingerprint, new_key

    key = new_key()
    try:
        entry = Key.model_validate({"name": name, "sha256": fingerprint(key), "scopes": scope})
    except ValidationError as error:
        stderr.print(explain(error).strip(), markup=False, highlight=False)
        raise typer.Exit(2) from None
    scopes = ", ".join(f'"{scope}"' for scope in entry.scopes)
    typer.echo(f"# The key, shown only this once:\n#   {key}\n# Add to the file that SELFREWARD_KEYS names:")
    typer.echo(f'[[keys]]\nname = "{entry.name}"\nsha256 = "{entry.sha256}"\nscopes = [{scopes}]')
    if "judge" in entry.scopes:
        typer.echo("# rate = { items_per_second = 20, burst = 256 }\n# concurrency = 4\n# job_items = 10000")
