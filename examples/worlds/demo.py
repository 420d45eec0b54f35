"""`make demo`: the whole self-rewarding loop on a world, on this machine, and its report.

Real parts only: Redis, vLLM behind the gateway, the judge, TRL in the trainer, the orchestrator, as local processes.
The exact checker is the human annotator before the run (seed data) and the independent examiner after it (labels). No
process of the loop loads it.

The command may be stopped at any time. The same command again goes on where the run was.
"""

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console

from examples.worlds.folders import Demo, demo_of, find_folder, is_done, minutes_of, new_folder, working_in
from examples.worlds.models import model_of
from examples.worlds.world import DEFAULT, ROOT, World, WorldError, load_world, service_settings, world_names
from selfreward.cli.runs.control import follow, resolve
from selfreward.cli.runs.tables import show_report
from selfreward.client.http import ServiceError
from selfreward.client.orchestrator import OrchestratorClient
from selfreward.evaluation.report.inputs import ReportError, load_run
from selfreward.evaluation.report.transcripts import transcripts
from selfreward.evaluation.report.write import write_report
from selfreward.processes.stack import LocalStack
from selfreward.recipe.recipe import Recipe, RecipeError
from selfreward.settings import Settings, key_of
from selfreward.store.artifacts import ArtifactStore

SHOWN = 3
"""How many held-out problems are shown with the models' answers."""
FAILURES = (RecipeError, ReportError, RuntimeError, ServiceError, WorldError, subprocess.CalledProcessError)
"""What ends a demo with a message. The run can go on once its cause is gone."""


def demo_for(world: World, model: str, seed: int, overrides: Sequence[str], commit: str = "") -> Demo:
    """The run that a command asks for. Raises WorldError or RecipeError."""
    name, checkpoint = model_of(world, model)
    demo = Demo(world.name, name, str(checkpoint), seed, tuple(overrides), "", commit)
    return Demo(**{**vars(demo), "recipe": _recipe(world, demo).hash})


def name_of(demo: Demo) -> str:
    """`countdown`, or `integration-smollm2`: world and model as part of the name of a folder or a run."""
    slug = load_world(demo.world).slug
    return slug if demo.model == "m0" else f"{slug}-{re.sub('[^a-z0-9.]', '-', demo.model)}"


def run_demo(folder: Path, console: Console) -> Path:
    """Run the folder's demo, or go on with it, and return the path of its report.json.

    Raises one of `FAILURES`: WorldError if another process has the folder, RuntimeError if a service does not start,
    ServiceError if the run is refused or fails, and ReportError if there is nothing to report.
    """
    demo = demo_of(folder)
    world, run = load_world(demo.world), f"{name_of(demo)}-{demo.seed}"
    with working_in(folder):
        # Seed data, which appear only once they are complete, and recipe.
        console.print(f"[bold]Self-rewarding on {world.title}[/bold], model {demo.model}, seed {demo.seed}")
        seed_data = folder / "seed"
        if not seed_data.is_dir():
            partial = folder / "seed.partial"
            shutil.rmtree(partial, ignore_errors=True)
            rows = world.write_seed_data(demo.seed, partial)
            partial.rename(seed_data)
            console.print(", ".join(f"{stem} {count}" for stem, count in rows.items()), highlight=False)
        recipe = _recipe(world, demo, seed_data)
        # Run it on a stack of real services.
        with LocalStack(folder, environment=service_settings(world, Path(demo.checkpoint))) as stack:
            with console.status("starting Redis, generator, judge, trainer, orchestrator"):
                stack.wait_healthy()
            run_to_end(OrchestratorClient(stack.urls["orchestrator"], key_of(Settings())), recipe, run)
        # Label and report.
        artifacts = str(folder / "artifacts")
        with console.status("independent checker and report"):
            _run_module("examples.worlds.label", "--world", demo.world, "--artifacts", artifacts, "--run", run)
            names = write_report(ArtifactStore(artifacts), run, folder)
        console.print("\n".join(names), highlight=False)
    console.print(f"done in {minutes_of(folder)} minutes")
    return folder / "report.json"


def run_to_end(client: OrchestratorClient, recipe: Recipe, run: str) -> None:
    """Start or continue a run and follow it to its end. ServiceError if it is refused or does not end as done."""
    started = client.start(recipe, run)
    if started["state"] in ("failed", "stopped", "paused", "rolled_back"):
        client.resume(run)
    try:
        follow(client, run)
    except typer.Exit:
        ended = client.run(run)
        raise ServiceError(f"{ended['state']}: {ended['message']}") from None


def point_latest_at(folder: Path) -> None:
    """Make `runs/latest` a link to `folder`."""
    latest = folder.parent / "latest"
    temporary = folder.parent / ".latest.tmp"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(folder.name)
    if latest.is_dir() and not latest.is_symlink():
        shutil.rmtree(latest)
    temporary.replace(latest)


def main() -> None:
    """Parse the command line, run, and show the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default=DEFAULT, help=f"{', '.join(world_names())} (default {DEFAULT})")
    parser.add_argument("--model", default="", help="m0, smollm2 or a checkpoint folder (default: the world's)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the data and of the run (default 0)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the run's folder goes (default runs/)")
    parser.add_argument("--resume", type=Path, help="the folder to go on with, whatever the other options say")
    parser.add_argument("--fresh", action="store_true", help="begin again, even if the same run was stopped")
    parser.add_argument("overrides", nargs="*", help="recipe overrides, for example prompts.per_iteration=200")
    arguments = parser.parse_args()
    # SIGTERM stops the services as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console()
    folder = None
    try:
        folder = _folder(arguments)
        console.print(f"in {folder}", highlight=False, soft_wrap=True)
        report = folder / "report.json" if is_done(folder) else run_demo(folder, console)
    except FAILURES as error:
        console.print(f"[red]the demo failed[/red]: {error}", highlight=False, soft_wrap=True)
        _say_how_to_go_on(folder, console)
        raise SystemExit(1) from error
    except KeyboardInterrupt:
        console.print("stopped")
        _say_how_to_go_on(folder, console)
        raise SystemExit(130) from None
    point_latest_at(folder)
    run = f"{name_of(demo_of(folder))}-{demo_of(folder).seed}"
    data = load_run(ArtifactStore(str(folder / "artifacts")), run)
    show_report(json.loads(report.read_text()), console, transcripts(data, SHOWN))
    console.print(f"report: {report.with_suffix('.html')}", highlight=False, soft_wrap=True)


def _folder(arguments: argparse.Namespace) -> Path:
    """The folder to go on with, or a new one."""
    if arguments.resume:
        return Path(arguments.resume).resolve()
    demo = demo_for(load_world(arguments.world), arguments.model, arguments.seed, arguments.overrides)
    stopped = None if arguments.fresh else find_folder(arguments.runs, demo)
    return stopped or new_folder(arguments.runs, f"{name_of(demo)}-{demo.seed}", demo)


def _recipe(world: World, demo: Demo, seed_data: Path | None = None) -> Recipe:
    overrides = [f"seed={demo.seed}", *world.overrides, *demo.overrides]
    return resolve(world.recipe, overrides, model=demo.checkpoint, seed_data=seed_data)


def _say_how_to_go_on(folder: Path | None, console: Console) -> None:
    if folder:
        console.print(
            f"The same command goes on with this run, and so does `make demo RESUME={folder}`. Logs: {folder / 'logs'}",
            highlight=False,
            soft_wrap=True,
        )


def _run_module(name: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", name, *arguments], check=True, cwd=ROOT)


if __name__ == "__main__":
    main()
