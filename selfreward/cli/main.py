"""The `selfreward` command line."""

import json
import signal
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from selfreward.cli.dead import commands as dead_commands
from selfreward.cli.evaluation import commands as evaluation_commands
from selfreward.cli.judge import commands as judge_commands
from selfreward.cli.keys import commands as keys_commands
from selfreward.cli.plan import plan
from selfreward.client.http import ServiceError
from selfreward.client.orchestrator import OrchestratorClient
from selfreward.files.export import check_out, write_export
from selfreward.files.rows import RowError
from selfreward.loop.export import Layout
from selfreward.loop.load import load_recipe
from selfreward.processes.stack import LocalStack
from selfreward.progress import RunProgress
from selfreward.recipe.recipe import Recipe, RecipeError
from selfreward.server.startup import what_is_wrong
from selfreward.settings import Settings, key_of

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run the self-rewarding loop: one model answers, judges its own answers, trains on the pairs, and repeats.",
)
_out = Console()
_err = Console(stderr=True)
RunName = Annotated[str, typer.Argument(help="Run id, as `selfreward status` lists it.")]


def _client() -> OrchestratorClient:
    settings = Settings()
    return OrchestratorClient(settings.orchestrator_url, key_of(settings))


def _seed_data(folder: Path) -> list[str]:
    """Overrides for the seed files of a folder that uses the standard names."""
    names = ("ift", "eft", "eft_eval", "prompts", "heldout")
    return [f"data.{name}={json.dumps(str(path))}" for name in names if (path := folder / f"{name}.jsonl").exists()]


def resolve(recipe: Path, overrides: list[str], model: str | None = None, seed_data: Path | None = None) -> Recipe:
    """A recipe with the command line's choices applied: seed data folder, model, then dotted overrides."""
    chosen = _seed_data(seed_data) if seed_data else []
    if model:
        chosen.append(f"model={json.dumps(model)}")
    return load_recipe(recipe, [*chosen, *overrides])


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="Recipe file, for example recipes/countdown.toml.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Dotted overrides, for example sampling.n=8.")] = None,
    model: Annotated[str | None, typer.Option(help="Base model folder (Hugging Face layout).")] = None,
    seed_data: Annotated[Path | None, typer.Option(help="Folder with ift.jsonl, eft.jsonl, prompts.jsonl, ...")] = None,
    run_id: Annotated[str | None, typer.Option("--run", help="Run id; the same id again continues that run.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe as JSON and stop.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Start the run and return.")] = False,
) -> None:
    """Start a run on the orchestrator and follow it to its end."""
    resolved = resolve(recipe, overrides or [], model, seed_data)
    if dry_run:
        _out.print_json(resolved.model_dump_json())
        return
    client = _client()
    started = client.start(resolved, run_id)
    _out.print(f"run [bold]{started['run']}[/bold] {started['state']}")
    if not detach:
        follow(client, started["run"])


def follow(client: OrchestratorClient, run_id: str) -> None:
    """Draw a run's progress until it ends; exits with status 1 when it failed."""
    state, message = "", ""
    with RunProgress(_out) as progress:
        for event in client.events(run_id):
            progress.show(event)
            state, message = event.get("state", ""), event.get("message", "")
    if state != "done":
        _err.print(f"run {run_id} {state}: {message}", markup=False)
        raise typer.Exit(1)


@app.command()
def watch(run_id: RunName) -> None:
    """Follow a run's progress from its first event to its end."""
    follow(_client(), run_id)


@app.command()
def status(run_id: Annotated[str | None, typer.Argument(help="One run; all when left out.")] = None) -> None:
    """Show the state of one run, or a table of all."""
    client = _client()
    if run_id:
        _out.print_json(data=client.run(run_id))
        return
    table = Table("run", "state", "stage", "phase", "alarms", "message")
    for row in client.runs():
        shown = {**row, "alarms": len(row.get("alarms") or ())}
        columns = ("run", "state", "stage", "phase", "alarms", "message")
        table.add_row(*(escape(str(shown.get(column) or "")) for column in columns))
    _out.print(table)


@app.command()
def stop(run_id: RunName) -> None:
    """Stop a run after the work in hand; `selfreward resume` continues it."""
    _out.print_json(data=_client().stop(run_id))


@app.command()
def resume(run_id: RunName) -> None:
    """Continue a run where it stopped, failed, was paused or rolled back (past that alarm), and follow it."""
    client = _client()
    client.resume(run_id)
    follow(client, run_id)


@app.command()
def export(
    run_id: RunName,
    stage: Annotated[str, typer.Option(help="The model whose training pairs to export.")] = "M2",
    out: Annotated[Path, typer.Option(help="File to write, .jsonl or .parquet.")] = Path("pairs.jsonl"),
    layout: Annotated[Layout, typer.Option(help="pairs (for DPO), or kto: single answers with a label.")] = "pairs",
) -> None:
    """Write a round's preference pairs in TRL's conversational format: JSON Lines or, with pyarrow, Parquet."""
    check_out(out)
    write_export(_client().export(run_id, stage, layout), out, layout)
    _out.print(f"{out}: {out.stat().st_size:,} bytes")


@app.command()
def up(
    folder: Annotated[Path, typer.Option(help="Where logs, Redis data and artifacts go.")] = Path("runs/local"),
) -> None:
    """Start Redis, generator, judge, trainer and orchestrator as local processes, until Ctrl-C."""
    ports = {"redis": 6379, "generator": 8000, "judge": 8001, "orchestrator": 8002, "trainer": 8003}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with LocalStack(folder, ports=ports) as stack:
        stack.wait_healthy(report=lambda name: _out.print(f"{name:<13} {stack.urls[name]}"))
        _out.print(f"ready; logs in {folder / 'logs'}; Ctrl-C stops everything")
        try:
            while True:
                stack.check()
                time.sleep(1)
        except KeyboardInterrupt:
            _out.print("stopping")


app.command()(plan)
app.add_typer(judge_commands)
app.add_typer(evaluation_commands)
app.add_typer(dead_commands, name="dead")
app.add_typer(keys_commands, name="keys")


def main() -> Any:
    """Entry point: errors that a user can mend are printed without a traceback and end with status 2."""
    try:
        app()
    except (RecipeError, RowError, ServiceError, SettingsError) as error:
        _err.print(str(error), markup=False, highlight=False)
        raise SystemExit(2) from None
    except ValidationError as error:
        if error.title != Settings.__name__:
            raise
        _err.print(what_is_wrong(error), markup=False, highlight=False)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
