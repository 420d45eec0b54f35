"""A monitor of a run that its own verdicts reward: the exact checker scores every rewarded answer.

    python -m examples.worlds.monitor RUN --world WORLD --artifacts ROOT

reads the trainer's samples (`runs/<run>/samples/`), after a stage or after the run, prints judge against checker and
writes `runs/<run>/evaluation/rewards.json`, which the report shows. Exit status 1 when an alarm fires, so that a script
can stop the run. Nothing of the loop imports this module or reads what it writes.
"""

import argparse
import sys
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from examples.worlds.world import DEFAULT, World, WorldError, load_world
from selfreward.contracts.reinforcement import Sample
from selfreward.evaluation.report.rewards import Verified, by_stage
from selfreward.loop import paths
from selfreward.settings import Settings
from selfreward.store.artifacts import ArtifactStore

_COLUMNS = ("reward", "checker", "precision", "recall", "false_positive_rate")
_SHOWN_STEPS = 20


def verified_answers(store: ArtifactStore, run: str, world: World) -> dict[str, list[Verified]]:
    """Every sampled answer of the run by stage, as the checker sees it. FileNotFoundError for an unknown run."""
    answers = {}
    for model in store.read_json(paths.record(run))["models"]:
        name = paths.samples(run, model["name"])
        if store.exists(name):
            rows = [Sample.model_validate(row) for row in store.read_jsonl(name)]
            answers[model["name"]] = [_verify(row, world) for row in rows]
    return answers


def watch(store: ArtifactStore, run: str, world: World) -> list[dict[str, Any]]:
    """Figures and alarms of every stage (`selfreward.evaluation.report.rewards`), which are also written down."""
    stages = by_stage(verified_answers(store, run, world))
    store.write_json(paths.rewards(run), stages)
    return stages


def show(stages: list[dict[str, Any]], console: Console) -> None:
    """Print a table for each stage, of at most 20 of its steps, and the alarms."""
    for stage in stages:
        table = Table(title=f"{stage['stage']}: judge against checker, %", title_justify="left", box=box.SIMPLE_HEAD)
        for column in ("step", *(name.replace("_", " ") for name in _COLUMNS)):
            table.add_column(column, justify="right")
        every = -(-len(stage["steps"]) // _SHOWN_STEPS)
        for row in stage["steps"][::every]:
            table.add_row(
                str(row["step"]), *("-" if row[name] is None else f"{100 * row[name]:.1f}" for name in _COLUMNS)
            )
        console.print(table)
        for alarm in stage["alarms"]:
            console.print(f"[red]ALARM[/red] {stage['stage']}: {alarm}", highlight=False)


def main() -> None:
    """Watch a run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="the run's id")
    parser.add_argument("--world", default=DEFAULT, help=f"the run's world (default {DEFAULT})")
    parser.add_argument(
        "--artifacts", default=Settings().artifacts, help="artifact root (default SELFREWARD_ARTIFACTS)"
    )
    arguments = parser.parse_args()
    try:
        stages = watch(ArtifactStore(arguments.artifacts), arguments.run, load_world(arguments.world))
    except WorldError as error:
        sys.exit(str(error))
    except FileNotFoundError as error:
        sys.exit(f"no run {arguments.run!r} below {arguments.artifacts}: {error}; give another RUN or --artifacts")
    if not stages:
        sys.exit(f"run {arguments.run} has sampled no answers: only method='self_improving' does, from M2 on")
    show(stages, Console())
    sys.exit(any(stage["alarms"] for stage in stages))


def _verify(sample: Sample, world: World) -> Verified:
    """The checker reads the text that the judge read. An answer without the format solves nothing."""
    right = sample.answer is not None and world.solved(sample.prompt, sample.answer)
    return Verified(sample.step, bool(sample.reward), right)


if __name__ == "__main__":
    main()
