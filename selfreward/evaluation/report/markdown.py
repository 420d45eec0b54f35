"""The report as Markdown."""

from typing import Any

from selfreward.evaluation.report.cells import Table
from selfreward.evaluation.report.findings.sentences import in_short
from selfreward.evaluation.report.tables import tables


def render_markdown(report: dict[str, Any]) -> str:
    """What it comes to in sentences, tables and provenance; every figure as `value [low, high]`."""
    parts = [f"# Self-rewarding run `{report['run']}`", legend(report)]
    parts += ["\n".join(f"- {line}" for line in in_short(report))]
    parts += [table_markdown(table) for table in tables(report)]
    parts += ["## Provenance", "\n".join(f"- {name}: `{value}`" for name, value in facts(report))]
    return "\n\n".join(parts) + "\n"


def legend(report: dict[str, Any]) -> str:
    """One sentence that says how the intervals were made."""
    bootstrap = report["provenance"]["bootstrap"]
    return (
        f"Brackets: {bootstrap['level']:.0%} confidence intervals by bootstrap over prompts "
        f"({bootstrap['resamples']:,} resamples)."
    )


def facts(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Provenance as name and value."""
    provenance = report["provenance"]
    versions = " · ".join(f"{name} {version}" for name, version in sorted((provenance["versions"] or {}).items()))
    sampling = " · ".join(f"{name} {value}" for name, value in sorted(report["sampling"].items()))
    named = {name.replace("_", " "): provenance[name] for name in ("recipe", "recipe_hash", "seed", "commit")}
    return [(name, "unknown" if value is None else str(value)) for name, value in named.items()] + [
        ("sampling", sampling or "unknown"),
        ("versions", versions),
    ]


def table_markdown(table: Table) -> str:
    """A table with its title as a heading and its note."""
    lines = [table.columns, ["---"] + ["---:"] * (len(table.columns) - 1), *table.rows]
    body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return f"## {table.title}\n\n{table.note}\n\n{body}"
