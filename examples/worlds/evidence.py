"""`make evidence`: the demo of a world over seeds, with what it showed, in evidence/<world>-<model>/.

Each seed's report.json is copied unchanged. summary.json and summary.md compare all seeds that are there and say
whether each claim holds. A seed that fails a claim stays in the table. The command may be stopped at any time: started
again at the same commit, it keeps finished seeds and goes on with the others.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from examples.worlds.claims import claims_of
from examples.worlds.demo import FAILURES, demo_for, name_of, run_demo
from examples.worlds.folders import find_folder, is_done, minutes_of, new_folder
from examples.worlds.world import DEFAULT, ROOT, load_world

_COLUMNS = (
    "sampled %",
    "greedy %",
    "best of n %",
    "judge accuracy %",
    "mean length",
    "parse failures %",
    "problems",
)


def summary_markdown(summary: dict[str, Any]) -> str:
    """The summary as Markdown tables: a row for each seed and model, a row for each claim, and each seed's command."""
    # Models.
    lines = [
        f"# The loop on {summary['title']}, by the independent checker",
        "",
        "95 % bootstrap intervals over problems. *Best of n*: at least one of a problem's n sampled answers is right "
        "(pass@n).",
        "",
        f"| seed | model | {' | '.join(_COLUMNS)} |",
        "|---" * (len(_COLUMNS) + 2) + "|",
    ]
    for seed, report in summary["reports"].items():
        for model in report["models"]:
            checker, judge = model["checker"], model["judge"]
            rates = ("solve_rate", "solve_rate_greedy", "solve_rate_best_of_n")
            row = [_percent(checker[name]) for name in rates]
            row += [_percent(judge and judge["pairwise_accuracy"]), f"{model['mean_length']['value']:.1f}"]
            row += [_percent(model["parse_failure_rate"]), str(checker["solve_rate"]["n"])]
            lines.append(f"| {seed} | {model['name']} | {' | '.join(row)} |")
    # Claims.
    lines += ["", "| claim | " + " | ".join(f"seed {seed}" for seed in summary["reports"]) + " |"]
    lines.append("|---|" + "---|" * len(summary["reports"]))
    for text in next(iter(summary["claims"].values())):
        cells = [
            f"{'holds' if claims[text]['holds'] else 'FAILS'} ({claims[text]['measured']})" if text in claims else "-"
            for claims in summary["claims"].values()
        ]
        lines.append(f"| {text} | {' | '.join(cells)} |")
    # Where they come from.
    lines += ["", "| seed | command | commit | minutes |", "|---|---|---|---|"]
    for seed, made in summary["made"].items():
        lines.append(f"| {seed} | `{made['command']}` | `{made['commit']}` | {made['minutes']} |")
    return "\n".join(lines) + "\n"


def write_summary(out: Path, title: str, made: dict[str, Any]) -> dict[str, Any]:
    """Write summary.md and summary.json of all seeds whose report is in `out`; returns the summary.

    `made` has command, commit and minutes by seed, and summary.json those of seeds that were made before.
    """
    old = out / "summary.json"
    known = json.loads(old.read_text()).get("made", {}) if old.exists() else {}
    by_seed = dict(sorted({**known, **made}.items()))
    reports = {seed: json.loads((out / f"report-seed{seed}.json").read_text()) for seed in by_seed}
    summary = {
        "title": title,
        "made": by_seed,
        "claims": {seed: claims_of(report) for seed, report in reports.items()},
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    summary["reports"] = reports
    (out / "summary.md").write_text(summary_markdown(summary))
    return summary


def main() -> None:
    """Run the seeds, copy their reports and write the summary; exits with status 1 if a claim of a seed fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default=DEFAULT, help=f"the world (default {DEFAULT})")
    parser.add_argument("--model", default="", help="m0, smollm2 or a checkpoint folder (default: the world's)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds to run (default 0 1 2)")
    parser.add_argument("--overrides", nargs="*", default=[], help="recipe overrides, for ablations")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="where the runs' folders are")
    parser.add_argument("--out", type=Path, help="where the evidence goes (default evidence/<world>-<model>)")
    arguments = parser.parse_args()
    # SIGTERM stops the services as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console()
    command = "python -m examples.worlds.evidence " + " ".join(sys.argv[1:])
    made: dict[str, Any] = {}
    claims: dict[str, Any] = {}
    try:
        world, commit = load_world(arguments.world), _commit()
        for seed in arguments.seeds:
            demo = demo_for(world, arguments.model, seed, arguments.overrides, commit)
            name = name_of(demo)
            folder = find_folder(arguments.runs, demo, done=True)
            folder = folder or new_folder(arguments.runs, f"evidence-{name}-{seed}", demo)
            report = folder / "report.json" if is_done(folder) else run_demo(folder, console)
            # The evidence so far.
            out = arguments.out or ROOT / "evidence" / name
            out.mkdir(parents=True, exist_ok=True)
            shutil.copy(report, out / f"report-seed{seed}.json")
            made[str(seed)] = {"command": command, "commit": commit, "minutes": minutes_of(folder)}
            summary = write_summary(out, world.title, made)
            claims = {key: summary["claims"][key] for key in made}
            console.print(summary_markdown(summary), highlight=False, markup=False, soft_wrap=True)
    except FAILURES as error:
        console.print(f"[red]stopped[/red]: {error}\nThe same command continues", highlight=False, soft_wrap=True)
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        console.print("stopped; the same command continues", highlight=False)
        raise SystemExit(130) from None
    raise SystemExit(0 if all(claim["holds"] for of_seed in claims.values() for claim in of_seed.values()) else 1)


def _commit() -> str:
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def _percent(figure: dict[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return "-"
    return f"{100 * figure['value']:.1f} [{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]"


if __name__ == "__main__":
    main()
