"""The tables of docs/deploy.md from bench/results/replicas.json: `python -m bench.replica_tables`."""

import json
from collections.abc import Iterable
from typing import Any

from bench.gateway import ROOT

RESULT = ROOT / "bench" / "results" / "replicas.json"
_SERIES = {
    "orchestrators": "orchestrators, before 4 judges",
    "judges": "judges, behind 4 orchestrators",
    "both": "both",
    "engine": "none: 4 of each, a small engine",
    "cores": "none: 1 of each, an engine that takes no time",
}


def tables(result: dict[str, Any]) -> str:
    """Both tables in Markdown: what was measured, a line for each series, and what was simulated."""
    lines = ["| replicas that vary | items/s | of one | formula | bound by |", "|---|---|---|---|---|"]
    for series, name in _SERIES.items():
        rows = [row for row in result["measured"] if row["varied"] == series]
        rates, formula = _list(rows, "items_per_second", ".1f"), _list(rows, "formula", ".1f")
        ratios = _list(rows, "ratio_to_one", ".2f") if len(rows) > 1 else ""
        bounds = ", ".join(dict.fromkeys(row["bound_by"] for row in rows))
        lines.append(f"| {name} | {rates} | {ratios} | {formula} | {bounds} |")
    lines += ["", "| of each | formula, items/s | expected | engines kept full | what their cores bear |"]
    lines.append("|---|---|---|---|---|")
    for row in result["simulated"]:
        figures = f"{row['formula']:.0f} | {row['expected']:.0f} | {row['engines_kept_full']:.0f}"
        lines.append(f"| {row['replicas']} | {figures} | {row['cores_bear']:.0f} |")
    return "\n".join(lines)


def _list(rows: Iterable[dict[str, Any]], name: str, form: str) -> str:
    return ", ".join(format(row[name], form) for row in rows)


if __name__ == "__main__":
    print(tables(json.loads(RESULT.read_text())))
