"""`selfreward win-rate ANSWERS BASELINE` (or `python -m selfreward.evaluation.models.win_rate_cli ...`): one model
against another."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from selfreward.client.http import ServiceError
from selfreward.client.judge_inputs import JudgeOptions, PairwiseOptions
from selfreward.client.judge_sync import JudgeClient, reachable_judge
from selfreward.evaluation.bootstrap import Bootstrap
from selfreward.evaluation.models.answer_files import Duel, duels, load_answers
from selfreward.evaluation.models.arena import BOOTSTRAP, arena_score
from selfreward.evaluation.models.preferences import Decided, by_comparison, by_score
from selfreward.evaluation.models.win_rate import win_rates
from selfreward.files.rows import RowError
from selfreward.progress import RunProgress

COMPARING = ("pairwise", "arena", "constitution", "debate")
"""Kinds of rubrics that are shown both answers."""

_SHOWN = {
    "win_rate": "win rate, a tie is half",
    "length_controlled_win_rate": "win rate, length controlled",
    "win": "wins",
    "tie": "ties",
    "lose": "losses",
    "longer_wins": "the longer answer wins",
    "unscored": "undecided",
}
_err = Console(stderr=True)


def measure(
    client: JudgeClient, answers: Path, baseline: Path, options: JudgeOptions, bootstrap: Bootstrap, bars: RunProgress
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The report of a contest, and what was decided on each duel. Raises RowError for files, ServiceError for the
    judge."""
    contest = duels(load_answers(answers), load_answers(baseline))
    rubric = client.rubric(options.get("rubric", "pairwise"))

    def progress(done: int, total: int) -> None:
        bars.show({"phase": "judge", "done": done, "total": total})

    if rubric["kind"] in COMPARING:
        given = {name: value for name, value in options.items() if value is not None}
        decided = by_comparison(client, contest, PairwiseOptions(**given), progress)  # type: ignore[typeddict-item]
    else:
        decided = by_score(client, contest, options, progress)
    report = {
        "answers": str(answers),
        "baseline": str(baseline),
        "rubric": rubric["id"],
        "orders": "both, a disagreement is a tie" if rubric["kind"] in COMPARING else "each answer by itself",
        "votes": options.get("votes"),
        "policy": options.get("policy"),
        "seed": options.get("seed"),
        "bootstrap": {"resamples": bootstrap.resamples, "seed": bootstrap.seed, "level": bootstrap.level},
        **win_rates(contest, [one.preference for one in decided], bootstrap),
    }
    if rubric["kind"] == "arena":
        score = arena_score([one.verdict for one in decided], [duel.group for duel in contest])
        report["arena"] = {**score._asdict(), "level": BOOTSTRAP.level, "resamples": BOOTSTRAP.resamples}
    return report, _rows(contest, decided)


def _rows(contest: Sequence[Duel], decided: Sequence[Decided]) -> list[dict[str, Any]]:
    return [
        {
            "prompt": [turn.model_dump() for turn in duel.prompt],
            "a": duel.a,
            "b": duel.b,
            "preference": one.preference if one.preference == one.preference else None,
            "scores": one.scores,
            "verdict": one.verdict.model_dump(mode="json") if one.verdict else None,
        }
        for duel, one in zip(contest, decided, strict=True)
    ]


def show(report: dict[str, Any], console: Console) -> None:
    """Print the figures as a table, lengths and warnings after it."""
    title = f"{report['answers']} against {report['baseline']}\n{report['duels']:,} duels, {report['rubric']}"
    table = Table("figure", "%", "95 % interval", title=title, title_justify="left")
    figures = report["figures"]
    for name, label in _SHOWN.items():
        found = figures[name]
        if found["value"] is None:
            table.add_row(label, "none", "")
        else:
            table.add_row(label, f"{found['value']:.1%}", f"{found['low']:.1%} to {found['high']:.1%}")
    console.print(table)
    if "arena" in report:
        arena = report["arena"]
        interval = f"{arena['low']:.1%} to {arena['high']:.1%}" if arena["value"] is not None else ""
        console.print(f"arena score {arena['value'] or 0:.1%}, 5 to 95 % {interval}", highlight=False)
    lengths = [figures[name]["value"] for name in ("mean_length", "mean_length_baseline")]
    console.print(f"mean length {lengths[0]:.0f} characters, the baseline's {lengths[1]:.0f}", highlight=False)
    for warning in report["warnings"]:
        console.print(f"warning: {warning}", markup=False, style="yellow")


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def win_rate(
    answers: Annotated[Path, typer.Argument(help="The model's answers, .jsonl or .parquet.")],
    baseline: Annotated[Path, typer.Argument(help="The baseline's answers to the same prompts.")],
    rubric: Annotated[str, typer.Option(help="A rubric of the judge's, comparing or scoring.")] = "pairwise",
    votes: Annotated[int, typer.Option(min=1, max=64, help="Verdicts for each order, or for each answer.")] = 1,
    policy: Annotated[str | None, typer.Option(help="Judge by this version only, for example policy@1.")] = None,
    seed: Annotated[int | None, typer.Option(help="Repeatable votes.")] = None,
    out: Annotated[Path, typer.Option(help="Name of the two files written, without .json and .jsonl.")] = Path(
        "win-rate"
    ),
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples behind each interval.")] = 1000,
) -> None:
    """Judge a model's answers against a baseline's: win rate, and win rate with the length's part taken out.

    Files are what a run writes (runs/<run>/evaluation/<model>/samples.jsonl or greedy.jsonl in the artifact store), or
    rows of prompt and response. A rubric that compares sees both orders, and a disagreement is a tie; by one that
    scores the higher score wins. The rubric arena gives verdicts in five steps, and so an arena score too.

    Written: OUT.json with every figure, and OUT.jsonl with every duel and its verdicts.

    The judge at SELFREWARD_JUDGE_URL asks the generator, where --policy freezes the judging version, or any
    OpenAI-compatible engine at its SELFREWARD_JUDGE_ENGINE_URL.

    Example: selfreward win-rate M2/greedy.jsonl M1/greedy.jsonl --rubric pairwise --out reports/m2-m1
    """
    options: JudgeOptions = {"rubric": rubric, "votes": votes, "policy": policy, "seed": seed}
    try:
        with reachable_judge() as client, RunProgress(_err) as bars:
            report, rows = measure(client, answers, baseline, options, Bootstrap(resamples), bars)
    except (RowError, ServiceError) as error:
        _err.print(str(error), markup=False, highlight=False)
        raise typer.Exit(2) from None
    out.parent.mkdir(parents=True, exist_ok=True)
    written = [Path(f"{out}.json"), Path(f"{out}.jsonl")]
    written[0].write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    written[1].write_text("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))
    show(report, Console())
    typer.echo(" ".join(map(str, written)))


if __name__ == "__main__":
    app(prog_name="selfreward win-rate")
