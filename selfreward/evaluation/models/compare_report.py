"""`selfreward compare RUN...` (or `python -m selfreward.evaluation.models.compare_report ...`): runs side by side."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table as ScreenTable

from selfreward.client.http import ServiceError
from selfreward.client.judge_sync import JudgeClient, reachable_judge
from selfreward.evaluation.bootstrap import Bootstrap
from selfreward.evaluation.models.answer_files import Duel
from selfreward.evaluation.models.compare import BASELINE, Judge, compared, same_m1
from selfreward.evaluation.models.dots import Dot, Panel, dots_svg
from selfreward.evaluation.models.preferences import by_comparison, by_score
from selfreward.evaluation.models.win_rate_cli import COMPARING
from selfreward.evaluation.report.cells import DASH, Table, number, percent
from selfreward.evaluation.report.inputs import ReportError, RunData, load_run
from selfreward.evaluation.report.markdown import table_markdown
from selfreward.settings import Settings
from selfreward.store.artifacts import ArtifactStore

PANELS = (
    Panel("solved, %", 100),
    Panel("judge right, %", 100),
    Panel("win rate against M1, %", 100, 50),
    Panel("… length controlled, %", 100, 50),
    Panel("characters"),
)
_COLUMNS = (
    "run",
    "method",
    "model",
    "solved %",
    "judge right %",
    "win rate %",
    "… length controlled %",
    "characters",
    "pair yield %",
    "minutes",
)
_LABEL_WIDTH, _CELL_WIDTH = 22, 24
_err = Console(stderr=True)


def find_run(name: str, artifacts: str) -> RunData:
    """A run by its name in the artifact store, or by the path of its folder in any local one. Raises ReportError."""
    folder = Path(name)
    if (folder / "run.json").is_file():
        folder = folder.resolve()
        return load_run(ArtifactStore(str(folder.parent.parent)), folder.name)
    return load_run(ArtifactStore(artifacts), name)


def live_judge(client: JudgeClient, rubric: str, policy: str | None, seed: int | None) -> Judge:
    """Preferences of the configured judge by a rubric, which may compare or score. Raises ServiceError."""
    comparing = client.rubric(rubric)["kind"] in COMPARING
    pinned = {"policy": policy} if policy else {}

    def judge(contest: Sequence[Duel]) -> list[float]:
        if comparing:
            drawn = {"seed": seed} if seed is not None else {}
            decided = by_comparison(client, contest, {"rubric": rubric, **pinned, **drawn}, _quiet)  # type: ignore[typeddict-item]
        else:
            decided = by_score(client, contest, {"rubric": rubric, "seed": seed, "policy": policy}, _quiet)
        return [one.preference for one in decided]

    return judge


def _quiet(_: int, __: int) -> None:
    return


def table(entries: Sequence[dict[str, Any]]) -> Table:
    """A row for each run: its last model, and that model against the run's M1."""
    rows = []
    for entry in entries:
        own = entry["models"][entry["model"]]
        figures = (entry["against_m1"] or {}).get("figures", {})
        rows.append(
            (
                entry["run"],
                entry["method"] or DASH,
                entry["model"],
                percent(own["solve_rate"]),
                percent(own["judge_accuracy"]),
                percent(figures.get("win_rate")),
                percent(figures.get("length_controlled_win_rate")),
                number(own["mean_length"], digits=1),
                percent(entry["pair_yield"]),
                DASH if entry["minutes"] is None else f"{entry['minutes']:.1f}",
            )
        )
    by = {entry["against_m1"]["by"] for entry in entries if entry["against_m1"]}
    note = (
        "Each run's last model. Solved: sampled held-out answers, by the independent checker. Judge right: pairwise "
        f"accuracy on the fixed human-ranked answers. Win rates: against the run's own {BASELINE}, by the "
        f"{' or the '.join(sorted(by)) or 'checker'}, a tie being half. Minutes: of the rounds after {BASELINE}."
    )
    return Table("Runs side by side", note, _COLUMNS, rows)


def plot(entries: Sequence[dict[str, Any]]) -> str:
    """An SVG document: a row for each run, M1's value as a tick."""
    return dots_svg([(entry["run"], [[dot] for dot in dots(entry)]) for entry in entries], PANELS, [], "runs")


def dots(entry: dict[str, Any]) -> list[Dot]:
    """A run's point in each of `PANELS`."""
    own, first = entry["models"][entry["model"]], entry["models"][BASELINE]
    figures = (entry["against_m1"] or {}).get("figures", {})
    made = [Dot(own[name], (first[name] or {}).get("value")) for name in ("solve_rate", "judge_accuracy")]
    made += [Dot(figures.get(name)) for name in ("win_rate", "length_controlled_win_rate")]
    return [*made, Dot(own["mean_length"], first["mean_length"]["value"])]


def markdown(entries: Sequence[dict[str, Any]], notes: Sequence[str]) -> str:
    """The table, every model's figures, and the plot that lies beside it."""
    rows = [
        (
            entry["run"],
            name,
            percent(model["solve_rate"]),
            percent(model["solve_rate_greedy"]),
            percent(model["judge_accuracy"]),
            percent(model["judge_accuracy_own_answers"]),
            number(model["own_score"]),
            number(model["mean_length"], digits=1),
        )
        for entry in entries
        for name, model in entry["models"].items()
    ]
    columns = ("run", "model", "solved %", "greedy %", "judge, fixed %", "judge, own %", "own score", "characters")
    every = Table("Every model", "Brackets: 95 % bootstrap intervals over prompts.", columns, rows)
    parts = ["# Runs compared", *notes, table_markdown(table(entries)), "![Runs side by side](compare.svg)"]
    return "\n\n".join([*parts, table_markdown(every)]) + "\n"


def show(entries: Sequence[dict[str, Any]], notes: Sequence[str], console: Console) -> None:
    """Print the table, a column for each run: as many beside each other as the terminal is wide."""
    made = table(entries)
    together = max(1, (console.width - _LABEL_WIDTH) // _CELL_WIDTH)
    for start in range(0, len(made.rows), together):
        shown = made.rows[start : start + together]
        screen = ScreenTable("", *(row[0] for row in shown), box=box.SIMPLE_HEAD, pad_edge=False)
        for place, label in enumerate(made.columns[1:], 1):
            screen.add_row(label, *(row[place].replace("[", r"\[") for row in shown))
        console.print(screen)
    for note in [made.note, *notes]:
        console.print(note, markup=False, highlight=False, style="dim")


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(help="Run ids, or paths of runs' folders in local artifact stores.")],
    out: Annotated[Path | None, typer.Option(help="Folder for compare.md, compare.json and compare.svg.")] = None,
    rubric: Annotated[
        str | None, typer.Option(help="Win rates by the configured judge with this rubric, not by the checker.")
    ] = None,
    policy: Annotated[str | None, typer.Option(help="Judge by this version only, for example policy@1.")] = None,
    seed: Annotated[int | None, typer.Option(help="Repeatable votes of that judge.")] = None,
    artifacts: Annotated[
        str | None, typer.Option(help="Root of the artifact store.", show_default="SELFREWARD_ARTIFACTS")
    ] = None,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples behind each interval.")] = 1000,
) -> None:
    """Put runs side by side: solve rate, judge accuracy, win rates against M1, length, pair yield, time.

    Example: selfreward compare countdown-0 dno-0 spin-0 --out reports/methods
    """
    root = artifacts or Settings().artifacts
    bootstrap = Bootstrap(resamples)
    try:
        found = [find_run(run, root) for run in runs]
        if rubric is None:
            entries = [compared(data, bootstrap) for data in found]
        else:
            with reachable_judge() as client:
                judge = live_judge(client, rubric, policy, seed)
                entries = [compared(data, bootstrap, judge) for data in found]
    except (ReportError, ServiceError) as error:
        _err.print(str(error), markup=False, highlight=False)
        raise typer.Exit(2) from None
    notes = _notes(found, entries)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        written = {"bootstrap": {"resamples": resamples, "seed": 0, "level": 0.95}, "notes": notes, "runs": entries}
        (out / "compare.json").write_text(json.dumps(written, indent=1, allow_nan=False) + "\n")
        (out / "compare.md").write_text(markdown(entries, notes))
        (out / "compare.svg").write_text(plot(entries))
    show(entries, notes, Console())
    if out is not None:
        typer.echo(" ".join(str(out / f"compare.{suffix}") for suffix in ("md", "json", "svg")))


def _notes(found: Sequence[RunData], entries: Sequence[dict[str, Any]]) -> list[str]:
    notes = [] if same_m1(found) else [f"The runs have different {BASELINE}s: a win rate is against the run's own."]
    notes += [
        f"{entry['run']}: {warning}."
        for entry in entries
        for warning in (entry["against_m1"] or {}).get("warnings", [])
    ]
    return notes


if __name__ == "__main__":
    app(prog_name="selfreward compare")
