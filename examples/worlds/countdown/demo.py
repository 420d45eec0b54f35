"""`make demo`: the whole self-rewarding loop on the Countdown world, on this machine, and its report.

Real parts only: Redis, vLLM behind the gateway, the judge, TRL in the trainer, the orchestrator, as local processes.
The exact checker is the human annotator before the run (seed data) and the independent examiner after it (labels). No
process of the loop loads it.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from examples.worlds.countdown.show import show_report
from selfreward.cli.runs import follow, resolve
from selfreward.client.http import ServiceError
from selfreward.client.orchestrator import OrchestratorClient
from selfreward.evaluation.report.inputs import ReportError
from selfreward.evaluation.report.write import write_report
from selfreward.processes.stack import LocalStack
from selfreward.settings import Settings, key_of
from selfreward.store.artifacts import ArtifactStore

ROOT = Path(__file__).resolve().parents[3]
RECIPE = ROOT / "recipes" / "countdown.toml"
MODEL = ROOT / "examples" / "worlds" / "countdown" / "m0"


def run_demo(seed: int, folder: Path, overrides: list[str], console: Console) -> Path:
    """Run the loop with one seed in `folder` and return the path of its report.json.

    Raises RuntimeError if a service does not start, ServiceError if the run is refused or fails, and ReportError if
    there is nothing to report.
    """
    # Seed data and recipe.
    started = time.monotonic()
    seed_data = folder / "seed"
    console.print(f"[bold]Self-rewarding on Countdown[/bold], seed {seed}: M1 by SFT, then DPO on self-judged pairs")
    _run_module("examples.worlds.countdown.seed_data", "--seed", str(seed), "--out", str(seed_data))
    recipe = resolve(RECIPE, [f"seed={seed}", *overrides], model=str(MODEL), seed_data=seed_data)
    # Run it on a stack of real services. Answers are short, so only many of them in flight fill the engine's batch.
    environment = {
        "SELFREWARD_MODEL": str(MODEL),
        "SELFREWARD_WORKER_CONCURRENCY": "256",
        "SELFREWARD_JUDGE_CONCURRENCY": "128",
    }
    with LocalStack(folder, environment=environment) as stack:
        with console.status("starting Redis, generator, judge, trainer, orchestrator"):
            stack.wait_healthy()
        client = OrchestratorClient(stack.urls["orchestrator"], key_of(Settings()))
        run = client.start(recipe, run=f"countdown-{seed}")["run"]
        follow(client, run)
    # Label and report.
    artifacts = str(folder / "artifacts")
    with console.status("independent checker and report"):
        _run_module("examples.worlds.countdown.label", "--artifacts", artifacts, "--run", run)
        names = write_report(ArtifactStore(artifacts), run, folder)
    console.print("\n".join(names), highlight=False)
    console.print(f"done in {(time.monotonic() - started) / 60:.1f} minutes")
    return folder / "report.json"


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
    parser.add_argument("--seed", type=int, default=0, help="seed of the data and of the run (default 0)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the run's folder goes (default runs/)")
    parser.add_argument("overrides", nargs="*", help="recipe overrides, for example prompts.per_iteration=200")
    arguments = parser.parse_args()
    # SIGTERM stops the services as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console()
    folder = (arguments.runs / time.strftime(f"countdown-{arguments.seed}-%Y%m%d-%H%M%S")).resolve()
    folder.mkdir(parents=True)
    try:
        report = run_demo(arguments.seed, folder, arguments.overrides, console)
    except (ReportError, RuntimeError, ServiceError, subprocess.CalledProcessError) as error:
        console.print(f"[red]the demo failed[/red]: {error}\nlogs: {folder / 'logs'}", highlight=False)
        raise SystemExit(1) from error
    except KeyboardInterrupt:
        console.print(f"stopped; logs: {folder / 'logs'}", highlight=False)
        raise SystemExit(130) from None
    point_latest_at(folder)
    show_report(report, console)


def _run_module(name: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", name, *arguments], check=True, cwd=ROOT)


if __name__ == "__main__":
    main()
