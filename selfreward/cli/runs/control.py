"""`selfreward run`, `watch`, `status`, `stop`, `resume` and `export` steer runs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from selfreward.cli.options import Overrides, RunName
from selfreward.cli.output import stderr, stdout

if TYPE_CHECKING:
    from selfreward.client.orchestrator import OrchestratorClient
    from selfreward.recipe.recipe import Recipe


def run(
    recipe: Annotated[Path, typer.Argument(help="Recipe file, for example recipes/countdown.toml.")],
    overrides: Overrides = None,
    model: Annotated[str | None, typer.Option(help="Base model folder (Hugging Face layout).")] = None,
    seed_data: Annotated[Path | None, typer.Option(help="Folder with ift.jsonl, eft.jsonl, prompts.jsonl, ...")] = None,
    run_id: Annotated[str | None, typer.Option("--run", help="Run id; the same id again continues that run.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe as JSON and stop.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Start the run and return.")] = False,
) -> None:
    """Start a run on the orchestrator and follow it to its end."""
    resolved = resolve(recipe, overrides or [], model, seed_data)
    if dry_run:
        stdout.print_json(resolved.model_dump_json())
        return
    client = _client()
    started = client.start(resolved, run_id)
    stdout.print(f"run [bold]{started['run']}[/bold] {started['state']}")
    if not detach:
        follow(client, started["run"])


def watch(run_id: RunName) -> None:
    """Follow a run's progress from its first event to its end."""
    follow(_client(), run_id)


def status(run_id: Annotated[str | None, typer.Argument(help="One run; all when left out.")] = None) -> None:
    """Show the state of one run, or a table of all."""
    client = _client()
    if run_id:
        stdout.print_json(data=client.run(run_id))
        return
    table = Table("run", "state", "stage", "phase", "alarms", "message")
    for row in client.runs():
        cells = {**row, "alarms": len(row.get("alarms") or ())}
        columns = ("run", "state", "stage", "phase", "alarms", "message")
        table.add_row(*(escape(str(cells.get(column) or "")) for column in columns))
    stdout.print(table)


def stop(run_id: RunName) -> None:
    """Stop a run after the work in hand; `selfreward resume` continues it."""
    stdout.print_json(data=_client().stop(run_id))


def resume(run_id: RunName) -> None:
    """Continue a run where it stopped, failed, was paused or rolled back (past that alarm), and follow it."""
    client = _client()
    client.resume(run_id)
    follow(client, run_id)


def export(
    run_id: RunName,
    stage: Annotated[str, typer.Option(help="The model whose training pairs to export.")] = "M2",
    out: Annotated[Path, typer.Option(help="File to write, .jsonl or .parquet.")] = Path("pairs.jsonl"),
    layout: Annotated[
        Literal["pairs", "kto"], typer.Option(help="pairs (for DPO), or kto: single answers with a label.")
    ] = "pairs",
) -> None:
    """Write a round's preference pairs in TRL's conversational format: JSON Lines or, with pyarrow, Parquet."""
    from selfreward.files.export import check_out, write_export

    check_out(out)
    with _client() as client:
        write_export(client.export(run_id, stage, layout), out, layout)
    stdout.print(f"{out}: {out.stat().st_size:,} bytes", soft_wrap=True)


def resolve(recipe: Path, overrides: list[str], model: str | None = None, seed_data: Path | None = None) -> "Recipe":
    """A recipe with the command line's choices applied: seed data folder, model, then dotted overrides."""
    from selfreward.loop.load import load_recipe

    choices = []
    if seed_data:
        names = ("ift", "eft", "eft_eval", "prompts", "heldout")
        files = {name: seed_data / f"{name}.jsonl" for name in names}
        choices += [f"data.{name}={json.dumps(str(file))}" for name, file in files.items() if file.exists()]
    if model:
        choices.append(f"model={json.dumps(model)}")
    return load_recipe(recipe, [*choices, *overrides])


def follow(client: "OrchestratorClient", run_id: str) -> None:
    """Draw a run's progress until it ends; exits with status 1 when it failed."""
    from selfreward.progress import RunProgress

    state, message = "", ""
    with RunProgress(stdout) as progress:
        for event in client.events(run_id):
            progress.show(event)
            state, message = event.get("state", ""), event.get("message", "")
    if state != "done":
        stderr.print(f"run {run_id} {state}: {message}", markup=False, soft_wrap=True)
        raise typer.Exit(1)


def _client() -> "OrchestratorClient":
    from selfreward.client.orchestrator import OrchestratorClient
    from selfreward.settings import Settings, key_of

    settings = Settings()
    return OrchestratorClient(settings.orchestrator_url, key_of(settings))
