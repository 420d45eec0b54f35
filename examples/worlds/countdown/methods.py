"""`make methods-evidence`: every method from the same M1, with the same budget of sampled answers, over seeds.

    python -m examples.worlds.countdown.methods --methods self_rewarding spin dno --seeds 0 1 2

One stack of real services runs each seed: first the run that trains the seed's M1, then a run for each method that
starts from it. The command may be stopped at any time. Started again, it keeps finished runs in `--folder` and
continues the others. After every run it writes the table in `--out` again: table.json, table.md and table.svg. A method
that fails stays in the table with the reason.
"""

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from examples.worlds.claims import Claim
from examples.worlds.countdown.contenders import contender_recipe, contenders, m1_recipe, sampled_answers, write_data
from examples.worlds.countdown.method_claims import claims_of
from examples.worlds.countdown.methods_table import Entry, markdown, plot, rows
from examples.worlds.countdown.world import world
from examples.worlds.demo import run_to_end
from examples.worlds.label import label_run
from examples.worlds.models import M0
from examples.worlds.world import ROOT, service_settings
from selfreward.client.http import ServiceError
from selfreward.client.orchestrator import OrchestratorClient
from selfreward.evaluation.bootstrap import Bootstrap
from selfreward.evaluation.models.compare import compared
from selfreward.evaluation.report.inputs import load_run
from selfreward.loop import paths
from selfreward.processes.stack import LocalStack
from selfreward.recipe.recipe import Recipe
from selfreward.settings import Settings, key_of
from selfreward.store.artifacts import ArtifactStore

OUT = ROOT / "evidence" / "methods"
WORLD = world()


def run_seed(seed: int, names: Sequence[str], folder: Path, arguments: argparse.Namespace) -> Iterator[Entry]:
    """Every contender's entry, as soon as its run is finished.

    Raises RuntimeError if M1 fails or a service does not start.
    """
    # The seed's data, and the recipe of every run.
    data, store = folder / "seed", ArtifactStore(str(folder / "artifacts"))
    write_data(seed, data)
    m1 = f"m1-{seed}"
    recipes = {m1: m1_recipe(seed, data, arguments.overrides)}
    for name in names:
        limits = (arguments.rounds, arguments.rollouts)
        recipes[f"{name}-{seed}"] = contender_recipe(name, seed, data, m1, *limits, arguments.overrides)
    # Finished runs are not repeated.
    missing = [run for run in recipes if _state(store, run) != "done"]
    if not missing:
        yield from (_entry(store, name, seed, recipes[f"{name}-{seed}"]) for name in names)
        return
    # Run the others on one stack, M1 first.
    with LocalStack(folder, environment=service_settings(WORLD, M0)) as stack:
        stack.wait_healthy()
        client = OrchestratorClient(stack.urls["orchestrator"], key_of(Settings()))
        if m1 in missing and (failure := _run_to_end(client, recipes[m1], m1)):
            raise RuntimeError(f"seed {seed} has no M1: {failure}; logs: {folder / 'logs'}")
        for name in names:
            run = f"{name}-{seed}"
            failure = _run_to_end(client, recipes[run], run) if run in missing else None
            failed = {"contender": name, "seed": seed, "failed": failure}
            yield failed if failure else _entry(store, name, seed, recipes[run])


def write_table(
    out: Path, entries: Sequence[Entry], claims: dict[int, dict[str, Claim]], arguments: argparse.Namespace
) -> dict[str, Any]:
    """Write table.json, table.md and table.svg; returns the table. `claims` are by seed and text."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"],  # noqa: S607 - where PATH has it
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    table = {
        "command": "python -m examples.worlds.countdown.methods " + " ".join(sys.argv[1:]),
        "commit": commit,
        "rounds": arguments.rounds,
        "rollouts": arguments.rollouts,
        "overrides": arguments.overrides,
        "rows": rows(entries),
        "claims": {str(seed): of_seed for seed, of_seed in claims.items()},
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.json").write_text(json.dumps(table, indent=1, allow_nan=False) + "\n")
    (out / "table.md").write_text(markdown(table))
    (out / "table.svg").write_text(plot(entries))
    return table


def main() -> None:
    """Run the missing runs; exits with status 1 if a run failed."""
    names = list(contenders())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=names, choices=names, help="contenders (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds (default 0 1 2)")
    parser.add_argument("--rounds", type=int, default=2, help="rounds after M1 (default 2)")
    parser.add_argument("--rollouts", type=int, default=2000, help="answers sampled in each round (default 2000)")
    parser.add_argument("--overrides", nargs="*", default=[], help="recipe overrides for every run, for a smaller try")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "methods", help="where the runs are kept")
    parser.add_argument("--out", type=Path, default=OUT, help="where the table goes")
    arguments = parser.parse_args()
    # SIGTERM stops the services as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console()
    # Every seed: its runs, then its claims. The table is written after each.
    entries: list[Entry] = []
    claims: dict[int, dict[str, Claim]] = {}
    try:
        for seed in arguments.seeds:
            folder = (arguments.folder / f"seed-{seed}").resolve()
            for entry in run_seed(seed, arguments.methods, folder, arguments):
                entries.append(entry)
                write_table(arguments.out, entries, claims, arguments)
                outcome = f"[red]failed[/red]: {entry['failed']}" if "failed" in entry else "done"
                console.print(f"{entry['contender']}, seed {seed}: {outcome}", highlight=False)
            entries_of_seed = {entry["contender"]: entry for entry in entries if entry["seed"] == seed}
            store = ArtifactStore(str(folder / "artifacts"))
            label_run(store, f"m1-{seed}", WORLD)
            claims[seed] = claims_of(store, entries_of_seed, seed)
            write_table(arguments.out, entries, claims, arguments)
    except (RuntimeError, ServiceError) as error:
        console.print(f"[red]the table cannot be continued[/red]: {error}", highlight=False)
        raise SystemExit(1) from error
    except KeyboardInterrupt:
        console.print("stopped; the same command continues", highlight=False)
        raise SystemExit(130) from None
    raise SystemExit(1 if any("failed" in entry for entry in entries) else 0)


def _run_to_end(client: OrchestratorClient, recipe: Recipe, run: str) -> str | None:
    """Start or continue a run and follow it to its end. Returns why it failed, or None."""
    try:
        run_to_end(client, recipe, run)
    except ServiceError as error:
        return str(error)
    return None


def _state(store: ArtifactStore, run: str) -> str | None:
    name = paths.record(run)
    return str(store.read_json(name)["state"]) if store.exists(name) else None


def _entry(store: ArtifactStore, name: str, seed: int, recipe: Recipe) -> Entry:
    """A finished run, labelled by the checker and measured."""
    run = f"{name}-{seed}"
    label_run(store, run, WORLD)
    figures = compared(load_run(store, run), Bootstrap())
    return {**figures, "contender": name, "seed": seed, "sampled": sampled_answers(recipe)}


if __name__ == "__main__":
    main()
