"""`python -m tests.harness.chaos`: whole runs under faults until so many processes were killed, and what an auditor
then finds.

The first run is left alone: it says how long an undisturbed one takes, from which follows what each kill costs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.harness.chaos.faults import Faults
from tests.harness.chaos.run import Outcome, run_through
from tests.harness.chaos.stack import ChaosStack
from tests.support.places import ROOT
from tests.support.small_recipe import small_recipe

OVERRIDES = ["prompts.per_iteration=32", "sft.save_every=2", "dpo.save_every=2", "baseline_sft.save_every=2"]


def main() -> None:
    """Run the suite and write its record; exit status 1 when anything was violated or a run did not end well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="draws the faults and the runs' samples (default 0)")
    parser.add_argument("--kills", type=int, default=200, help="processes to kill in all (default 200)")
    parser.add_argument("--kills-per-run", type=int, default=34, help="after these a run is left to end (default 34)")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds that one run may take (default 1800)")
    parser.add_argument("--out", type=Path, default=ROOT / "evidence" / "chaos.json", help="where the record goes")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    record = suite(arguments.seed, arguments.kills, arguments.kills_per_run, arguments.timeout, arguments.out)
    print(f"{record['kills']} kills, {record['violations']} violations: {arguments.out}")
    sys.exit(bool(record["violations"]))


def suite(seed: int, kills: int, kills_per_run: int, timeout: float, out: Path) -> dict[str, Any]:
    """The record: kills and violations in all and by kind, the runs, and the seconds that a kill costs.

    It is written to `out` after each run, so that a suite that is cut short has shown what it came to.
    """
    record: dict[str, Any] = {}
    runs: list[dict[str, Any]] = []
    done: list[Faults] = []
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("kills"), TimeElapsedColumn()
    )
    with tempfile.TemporaryDirectory() as scratch, bar, ChaosStack(Path(scratch) / "stack") as stack:
        shown = bar.add_task("undisturbed run", total=kills)
        recipe = small_recipe(Path(scratch), OVERRIDES)
        before = 0
        while not runs or before < kills:
            number = len(runs)
            wanted = min(kills_per_run, kills - before) if number else 0
            faults = Faults(stack, seed=1000 * seed + number, kills=wanted)

            def report(
                record: dict[str, Any], faults: Faults = faults, number: int = number, base: int = before
            ) -> None:
                place = f"run {number}: {record.get('stage', '')} {record.get('phase', '')}"
                bar.update(shown, description=place, completed=base + faults.killed)

            seeded = recipe.model_copy(update={"seed": seed + number})
            outcome = run_through(stack, seeded, f"chaos-{number}", faults, timeout, report)
            runs.append(_row(number, outcome, faults))
            done.append(faults)
            before += faults.killed
            bar.update(shown, completed=before)
            record = _summary(seed, runs, done)
            out.write_text(json.dumps(record, indent=1) + "\n")
    return record


def _row(number: int, outcome: Outcome, faults: Faults) -> dict[str, Any]:
    return {
        "run": number,
        "state": outcome.state,
        "message": outcome.message,
        "seconds": round(outcome.seconds, 1),
        "kills": faults.killed,
        "faults": len(faults.done),
        "violations": [vars(violation) for violation in outcome.violations],
    }


def _summary(seed: int, runs: list[dict[str, Any]], done: list[Faults]) -> dict[str, Any]:
    kinds: dict[str, int] = {}
    for faults in done:
        for kind, count in faults.by_kind().items():
            kinds[kind] = kinds.get(kind, 0) + count
    kills = sum(row["kills"] for row in runs)
    calm, hurt = runs[0]["seconds"], [row["seconds"] for row in runs[1:]]
    # A run that does not end well is a violation too: nothing that was done to it excuses that.
    violations = sum(len(row["violations"]) + (row["state"] != "done") for row in runs)
    command = ["git", "rev-parse", "--short=12", "HEAD"]
    commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    return {
        "command": "python -m tests.harness.chaos " + " ".join(sys.argv[1:]),
        "seed": seed,
        "commit": commit,
        "kills": kills,
        "violations": violations,
        "by_kind": dict(sorted(kinds.items())),
        "undisturbed_run_s": calm,
        "lost_per_kill_s": round((sum(hurt) - calm * len(hurt)) / kills, 2) if kills else None,
        "runs": runs,
    }


if __name__ == "__main__":
    main()
