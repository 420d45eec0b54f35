"""`make evidence`: repeat the demo over seeds and write the results to evidence/countdown/.

Each seed's report.json is copied unchanged. summary.json and summary.md compare the seeds and say whether each claim
holds. A seed that fails a claim stays in the table.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from examples.worlds.countdown.claims import claims_of
from examples.worlds.countdown.demo import ROOT, run_demo

OUT = ROOT / "evidence" / "countdown"


def summary_markdown(summary: dict[str, Any]) -> str:
    """The summary as Markdown tables: a row for each seed and model, then a row for each claim."""
    # Models.
    lines = [
        "# The loop on Countdown, by the independent checker",
        "",
        f"`{summary['command']}` at commit `{summary['commit']}`. 95 % bootstrap intervals over problems.",
        "",
        "| seed | model | solved % (T=0.7) | solved % greedy | judge accuracy % | mean length | parse failures % |",
        "|---|---|---|---|---|---|---|",
    ]
    for seed, report in summary["reports"].items():
        for model in report["models"]:
            checker, judge = model["checker"], model["judge"]
            row = [_percent(checker["solve_rate"]), _percent(checker["solve_rate_greedy"])]
            row += [_percent(judge and judge["pairwise_accuracy"]), f"{model['mean_length']['value']:.1f}"]
            row += [_percent(model["parse_failure_rate"])]
            lines.append(f"| {seed} | {model['name']} | {' | '.join(row)} |")
    # Claims.
    lines += ["", "| claim | " + " | ".join(f"seed {seed}" for seed in summary["reports"]) + " |"]
    lines.append("|---|" + "---|" * len(summary["reports"]))
    for text in next(iter(summary["claims"].values())):
        cells = [
            f"{'holds' if claims[text]['holds'] else 'FAILS'} ({claims[text]['measured']})"
            for claims in summary["claims"].values()
        ]
        lines.append(f"| {text} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run every seed, copy its report and write the summary; exits with status 1 if a claim fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds to run (default 0 1 2)")
    parser.add_argument("--overrides", nargs="*", default=[], help="recipe overrides, for ablations")
    parser.add_argument("--out", type=Path, default=OUT, help="where the evidence goes")
    arguments = parser.parse_args()
    # SIGTERM stops the services as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console()
    arguments.out.mkdir(parents=True, exist_ok=True)
    summary: dict[str, Any] = {
        "command": "python -m examples.worlds.countdown.evidence " + " ".join(sys.argv[1:]),
        "commit": _commit(),
        "minutes": {},
        "reports": {},
        "claims": {},
    }
    # Every seed; the summary is written after each.
    for seed in arguments.seeds:
        started = time.monotonic()
        folder = ROOT / "runs" / time.strftime(f"evidence-{seed}-%Y%m%d-%H%M%S")
        folder.mkdir(parents=True)
        report = run_demo(seed, folder, arguments.overrides, console)
        shutil.copy(report, arguments.out / f"report-seed{seed}.json")
        content = json.loads(report.read_text())
        summary["minutes"][str(seed)] = round((time.monotonic() - started) / 60, 1)
        summary["reports"][str(seed)] = content
        summary["claims"][str(seed)] = claims_of(content)
        (arguments.out / "summary.md").write_text(summary_markdown(summary))
        slim = {key: value for key, value in summary.items() if key != "reports"}
        (arguments.out / "summary.json").write_text(json.dumps(slim, indent=1) + "\n")
    console.print(summary_markdown(summary), highlight=False, markup=False)
    hold = all(claim["holds"] for claims in summary["claims"].values() for claim in claims.values())
    raise SystemExit(0 if hold else 1)


def _commit() -> str:
    command = ["git", "rev-parse", "--short=12", "HEAD"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def _percent(figure: dict[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return "-"
    return f"{100 * figure['value']:.1f} [{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]"


if __name__ == "__main__":
    main()
