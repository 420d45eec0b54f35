"""The report as one self-contained HTML page: no script, nothing fetched, every text from a model escaped."""

from collections.abc import Sequence
from html import escape
from typing import Any

from selfreward.evaluation.report.cells import DASH, Table
from selfreward.evaluation.report.findings.sentences import in_short
from selfreward.evaluation.report.markdown import facts, legend
from selfreward.evaluation.report.plots import plots
from selfreward.evaluation.report.tables import tables
from selfreward.evaluation.report.transcripts import Transcript

_STYLE = """
:root { color-scheme: light; --ink: #22262b; --soft: #656c76; --line: #dfe3e8; --blue: #2f6db3; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem 4rem; color: var(--ink); background: #fff;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .25rem; }
p { margin: .25rem 0 .75rem; } .soft, .note { color: var(--soft); } .note { font-size: .9rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; min-width: 32rem; }
th, td { padding: .4rem .8rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { border-bottom: 2px solid var(--ink); font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td small { color: var(--soft); margin-left: .35em; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1rem 2rem; }
figure { margin: 0; } figure.full { grid-column: 1 / -1; } figcaption { font-weight: 600; }
svg { width: 100%; height: auto; }
.example { border: 1px solid var(--line); border-radius: 6px; padding: .75rem 1rem; margin: .75rem 0; }
.example td { white-space: pre-wrap; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
.example th { text-align: left; } .example table { width: 100%; }
code, .example td { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .85rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; font-size: .9rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
ul { padding-left: 1.2rem; } .alarm { color: #b0413e; font-weight: 600; }
@media (max-width: 40rem) {
  table { min-width: 0; width: 100%; font-size: .8rem; } th, td { padding: .35rem .3rem; }
  th { white-space: normal; } td small { display: block; margin: 0; font-size: .9em; }
  .example table, .example tr, .example td { display: block; } .example tr:first-child { display: none; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; }
}
"""


def render_html(report: dict[str, Any], examples: Sequence[Transcript]) -> str:
    """The whole page."""
    body = [
        f"<h1>Self-rewarding run <code>{escape(report['run'])}</code></h1>",
        f'<p class="soft">{escape(_models(report))} {escape(legend(report))}</p>',
        f"<ul>{''.join(_line(line) for line in in_short(report))}</ul>",
        f'<div class="plots">{"".join(_plot(title, svg) for title, svg in plots(report).items())}</div>',
        *(_table(table) for table in tables(report)),
        *_examples(examples),
        "<h2>Provenance</h2><dl>",
        *(f"<dt>{escape(name)}</dt><dd><code>{escape(value)}</code></dd>" for name, value in facts(report)),
        "</dl>",
    ]
    title = escape(f"selfreward · {report['run']}")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def _models(report: dict[str, Any]) -> str:
    names = ", ".join(f"{model['name']} ({model['policy_version']})" for model in report["models"])
    return f"Models: {names}."


def _line(text: str) -> str:
    alarm = ' class="alarm"' if text.startswith("ALARM") else ""
    return f"<li{alarm}>{escape(text)}</li>"


def _plot(title: str, svg: str) -> str:
    full = ' class="full"' if title.startswith("Scores") else ""
    return f"<figure{full}><figcaption>{escape(title)}</figcaption>{svg}</figure>"


def _cell(text: str) -> str:
    value, bracket, rest = text.partition(" [")
    return f"<td>{escape(value)}" + (f"<small>[{escape(rest)}</small></td>" if bracket else "</td>")


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    rows = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in table.rows)
    return (
        f'<h2>{escape(table.title)}</h2><p class="note">{escape(table.note)}</p>'
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _examples(examples: Sequence[Transcript]) -> list[str]:
    if not examples:
        return []
    note = "Each model's first sampled answer to the same held-out prompts, evenly spaced: nobody picked them."
    blocks = [f'<h2>Examples</h2><p class="note">{escape(note)}</p>']
    head = "<tr><th>model</th><th>answer</th><th>own score</th><th>checker</th><th>one of its votes</th></tr>"
    for example in examples:
        rows = "".join(
            f"<tr><td>{escape(line.model)}</td><td>{escape(line.answer)}</td><td>{_score(line.own_score)}</td>"
            f"<td>{_score(line.checker)}</td><td>{escape(line.vote)}</td></tr>"
            for line in example.lines
        )
        prompt = escape(example.prompt)
        blocks.append(f'<div class="example wide"><p>{prompt}</p><table>{head}{rows}</table></div>')
    return blocks


def _score(score: float | None) -> str:
    return DASH if score is None else f"{score:.3g}"
