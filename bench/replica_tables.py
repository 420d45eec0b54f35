"""Print the tables of docs/deploy.md on replicas from bench/results/replicas.json: `python -m bench.replica_tables`."""

import json
from collections.abc import Iterable
from typing import Any

from bench.services import ROOT

RESULT = ROOT / "bench" / "results" / "replicas.json"
_SERIES = {
    "orchestrators": "1, 2, 4 orchestrators, before 4 judges",
    "judges": "1, 2, 4 judges, behind 4 orchestrators",
    "both": "1, 2, 4 of both",
    "engine": "4 of both, on an engine of 64 sequences",
    "cores": "1 of both, on an engine that takes no time",
}


def tables(result: dict[str, Any]) -> str:
    """The tables in Markdown: what was measured, with a row for each series, what was simulated, what recipes need."""
    # What was measured.
    lines = ["| replicas | items/s | of one | formula | bound by |", "|---|---|---|---|---|"]
    for series, name in _SERIES.items():
        rows = [row for row in result["measured"] if row["varied"] == series]
        rates, formula = _list(rows, "items_per_second", ".1f"), _list(rows, "formula", ".1f")
        ratios = _list(rows, "ratio_to_one", ".2f") if len(rows) > 1 else ""
        bounds = ", ".join(dict.fromkeys(row["bound_by"] for row in rows))
        lines.append(f"| {name} | {rates} | {ratios} | {formula} | {bounds} |")
    cost = {name: f"{1000 * seconds:.1f} ms" for name, seconds in result["cpu_seconds"].items()}

    # The CPU time of an item, and what was simulated with it.
    lines += [
        "",
        f"An item costs {cost['orchestrator']} of CPU in the orchestrator, {cost['judge']} in the judge, "
        f"{cost['redis']} in Redis, and {cost['rest']} in the bench itself.",
        f"Processes that are none of the bench's took up to {result['other_cores']:.1f} of the machine's "
        f"{result['machine']['cores']} cores meanwhile.",
        "",
        "| of both | formula, items/s | expected | engines kept full | what their cores bear |",
        "|---|---|---|---|---|",
    ]
    for row in result["simulated"]:
        figures = f"{row['formula']:.1f} | {row['expected']:.1f} | {row['engines_kept_full']:.1f}"
        lines.append(f"| {row['replicas']} | {figures} | {row['cores_bear']:.0f} |")

    # What the recipes need.
    lines += ["", "| recipe | items/s of one full engine | orchestrators for it | judges for it |", "|---|---|---|---|"]
    for row in result["recipes"]:
        figures = f"{row['engine']:.2f} | {row['orchestrators']:.1f} | {row['judges']:.1f}"
        lines.append(f"| `{row['recipe']}` | {figures} |")
    return "\n".join(lines)


def _list(rows: Iterable[dict[str, Any]], name: str, form: str) -> str:
    return ", ".join(format(row[name], form) for row in rows)


if __name__ == "__main__":
    print(tables(json.loads(RESULT.read_text())))
