"""`selfreward run`, `watch`, `status`, `stop` and `resume` steer runs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from selfreward.cli.options import Json, Overrides, RunName
from selfreward.cli.output import say, stderr, stdout
from selfreward.cli.runs.report import show_outcome

_ALARMS = 5
SEED_FILES = ("ift", "eft", "eft_eval", "prompts", "heldout")

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
    """Start a run on the orchestrator, follow it to its end, and show its report.

    Relative paths, of the base model and the seed files, are resolved in the working directory of this command, where
    the file exists there; any other is left to the orchestrator.
    """
    resolved = with_paths_from_here(resolve(recipe, overrides or [], model, seed_data))
    if dry_run:
        stdout.print_json(resolved.model_dump_json())
        return
    client = orchestrator()
    started = client.start(resolved, run_id)
    stdout.print(f"run [bold]{started['run']}[/bold] {started['state']}")
    if not detach:
        _follow(client, started["run"])
        show_outcome(started["run"])


def watch(run_id: RunName) -> None:
    """Follow a run's progress from its first event to its end."""
    _follow(orchestrator(), run_id)


def status(
    run_id: Annotated[str | None, typer.Argument(help="One run; all when left out.")] = None,
    as_json: Json = False,
    most: Annotated[int, typer.Option(min=1, help="Of all runs: how many to list, the newest first.")] = 15,
) -> None:
    """Show the state of one run, or a table of the newest."""
    client = orchestrator()
    if run_id:
        shown = client.run(run_id)
        if as_json:
            stdout.print_json(data=shown)
        else:
            _show_run(shown)
        return
    rows = client.runs()
    if as_json:
        stdout.print_json(data=rows)
        return
    table = Table("run", "state", "stage", "phase", "alarms", "message", box=None, pad_edge=False)
    for row in rows[:most]:
        cells = {**row, "alarms": len(row.get("alarms") or ()), "message": _short(row.get("message"), 200)}
        columns = ("run", "state", "stage", "phase", "alarms", "message")
        table.add_row(*(escape(str(cells.get(column) or "")) for column in columns))
    stdout.print(table)
    if len(rows) > most:
        say(f"{len(rows) - most:,} older runs: --most {len(rows)}")


def _show_run(run: dict[str, Any]) -> None:
    """One run in at most 20 lines; `--json` has the rest: recipe and journal."""
    from selfreward.progress import clock

    where = " ".join(filter(None, (run.get("stage"), run.get("phase")))) if run["state"] != "done" else ""
    say(f"run      {run['run']}")
    say(f"state    {run['state']}{f', {where}' if where else ''}")
    if run.get("message"):
        say(f"message  {_short(run['message'], 2000)}")
    say(f"recipe   {run['recipe']['name']}, method {run['recipe']['method']}, seed {run['recipe']['seed']}")
    removed = " (weights removed)"
    names = [model["name"] + removed * bool(model.get("removed")) for model in run["models"] if model["policy_version"]]
    say(f"models   {', '.join(names) or 'none yet'}")
    seconds = sum(entry["seconds"] for entry in run["journal"])
    say(f"time     {clock(seconds)} in {len(run['journal'])} finished phases, since {run['created_at']}")
    for alarm in run["alarms"][-_ALARMS:]:
        say(f"alarm    {_short(alarm['message'], 200)}")
    if len(run["alarms"]) > _ALARMS:
        say(f"         and {len(run['alarms']) - _ALARMS} earlier ones: --json")
    if run["state"] in ("failed", "stopped", "paused", "rolled_back"):
        say(f"go on    selfreward resume {run['run']}")


def _short(text: str | None, characters: int) -> str:
    """The first line of a text, cut."""
    first = (text or "").strip().partition("\n")[0]
    return first if len(first) <= characters else f"{first[:characters].rstrip()} ..."


def stop(run_id: RunName, as_json: Json = False) -> None:
    """Stop a run after the work in hand; `selfreward resume` continues it."""
    stopped = orchestrator().stop(run_id)
    if as_json:
        stdout.print_json(data=stopped)
    else:
        say(f"run {run_id} is {stopped['state']}; `selfreward resume {run_id}` continues it")


def resume(run_id: RunName) -> None:
    """Continue a run where it stopped, failed, was paused or rolled back (past that alarm), and follow it."""
    client = orchestrator()
    client.resume(run_id)
    _follow(client, run_id)
    show_outcome(run_id)


def resolve(recipe: Path, overrides: list[str], model: str | None = None, seed_data: Path | None = None) -> "Recipe":
    """A recipe with the command line's choices applied: seed data folder, model, then dotted overrides.

    Raises RecipeError, also for a seed data folder without any of the files.
    """
    from selfreward.loop.load import load_recipe
    from selfreward.recipe.recipe import RecipeError

    choices = []
    if seed_data:
        files = {name: seed_data / f"{name}.jsonl" for name in SEED_FILES}
        choices += [f"data.{name}={json.dumps(str(file))}" for name, file in files.items() if file.exists()]
        if not choices:
            what = "has none of" if seed_data.is_dir() else "is not a folder: give one with"
            raise RecipeError(f"--seed-data {seed_data} {what} {', '.join(path.name for path in files.values())}")
    if model:
        choices.append(f"model={json.dumps(model)}")
    return load_recipe(recipe, [*choices, *overrides])


def with_paths_from_here(recipe: "Recipe") -> "Recipe":
    """The recipe with an absolute path for the base model and each seed file that exists in the working directory.

    The orchestrator may run elsewhere, where a relative path would lead to another file.
    """

    def from_here(path: str) -> str:
        return str(Path(path).resolve()) if Path(path).exists() else path

    named = {name: path for name, path in recipe.data if isinstance(path, str)}
    data = recipe.data.model_copy(update={name: from_here(path) for name, path in named.items()})
    return recipe.model_copy(update={"model": from_here(recipe.model), "data": data})


def follow(client: "OrchestratorClient", run_id: str, plan: Sequence[tuple[str, str]] = ()) -> None:
    """Draw a run's progress until it ends; exits with status 1 if it failed. `plan` has all of its phases in order."""
    from selfreward.progress import RunProgress

    state, message = "", ""
    with RunProgress(stdout, plan) as progress:
        for event in client.events(run_id):
            # How it ended is said below.
            progress.show({**event, "message": ""} if event.get("state") else event)
            state, message = event.get("state", ""), event.get("message", "")
    if state != "done":
        stderr.print(f"run {run_id} {state}: {message}", markup=False, soft_wrap=True)
        raise typer.Exit(1)
    say(f"run {run_id} is done: {message}")


def _follow(client: "OrchestratorClient", run_id: str) -> None:
    """Follow a run with its plan; Ctrl-C leaves it running and says how to go on."""
    try:
        follow(client, run_id, _plan(client, run_id))
    except KeyboardInterrupt:
        say(f"run {run_id} goes on: `selfreward watch {run_id}` follows it again, `selfreward stop {run_id}` stops it")
        raise typer.Exit(130) from None


def _plan(client: "OrchestratorClient", run_id: str) -> list[tuple[str, str]]:
    """All phases of a run, in order."""
    from selfreward.loop.load import parse_recipe
    from selfreward.loop.methods import method_of

    recipe = parse_recipe(client.run(run_id)["recipe"], source=f"of run {run_id}")
    method = method_of(recipe)
    return [(stage, phase) for stage in method.stages(recipe) for phase in method.phases(recipe, stage)]


def orchestrator() -> "OrchestratorClient":
    """A client of the configured orchestrator."""
    from selfreward.client.orchestrator import OrchestratorClient
    from selfreward.settings import Settings, key_of

    settings = Settings()
    return OrchestratorClient(settings.orchestrator_url, key_of(settings))
