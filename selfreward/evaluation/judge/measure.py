"""`selfreward judge-eval FILE` (or `python -m selfreward.evaluation.judge.measure FILE`): measure a judge on labelled
answers."""

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from selfreward.client.http import ServiceError
from selfreward.client.judge_inputs import JudgeOptions, PairwiseOptions, Turns
from selfreward.client.judge_sync import JudgeClient, reachable_judge
from selfreward.contracts.base import content_key
from selfreward.contracts.comparisons import PairVerdict
from selfreward.contracts.judging import JudgeItem, Judgment
from selfreward.evaluation.bootstrap import Bootstrap, Interval
from selfreward.evaluation.judge.figures import (
    Pairs,
    accuracy_by_gap,
    best_by_score,
    by_group,
    calibration,
    compared_pairs,
    pair_figures,
    score_figures,
    scored_pairs,
)
from selfreward.evaluation.judge.labelled import Labelled, load_labelled, pairs_of
from selfreward.evaluation.judge.plot import plot_svg
from selfreward.evaluation.judge_metrics import grades, judge_figures
from selfreward.evaluation.models.win_rate_cli import COMPARING
from selfreward.files.rows import RowError
from selfreward.progress import RunProgress

_COMPARED_AT_ONCE = 64
_LIST_FIGURES = ("exact_match", "spearman", "kendall_tau_b", "five_best")
_err = Console(stderr=True)


def measure(
    client: JudgeClient, file: Path, options: JudgeOptions, bootstrap: Bootstrap, progress: RunProgress
) -> dict[str, Any]:
    """The report of a judge on a labelled file. Raises RowError for the file, ServiceError for the judge."""
    name, rows = load_labelled(file)
    rubric = client.rubric(options.get("rubric", "additive5"))
    places = {group: index for index, group in enumerate(dict.fromkeys(row.group for row in rows))}
    groups = [places[row.group] for row in rows]
    report: dict[str, Any] = {
        "file": str(file),
        "format": name,
        "rubric": rubric["id"],
        "votes": options.get("votes", 3),
        "seed": options.get("seed"),
        "groups": len(places),
        "answers": sum(len(row.responses) for row in rows),
        "bootstrap": {"resamples": bootstrap.resamples, "seed": bootstrap.seed, "level": bootstrap.level},
        "notes": [],
    }
    if rubric["kind"] in COMPARING:
        compared = _compare(client, rows, options, progress)
        pairs = compared_pairs(rows, compared, groups)
        report["notes"].append(
            "a rubric that compares gives no scores: figures about these and whole lists are left out"
        )
        figures = _consistency(pairs, compared, bootstrap, len(places))
    else:
        judged, versions = _judge(client, rows, options, progress)
        pairs = scored_pairs(rows, judged, groups)
        report["judge_versions"] = versions
        report["notes"].append("position_consistency is left out: a rubric that scores sees one answer at a time")
        figures = score_figures(rows, judged, groups, bootstrap)
        given = grades([row.gold for row in rows], [[one.score for one in row] for row in judged])
        ranked = judge_figures(given, float(rubric["scale"]["max"]))
        figures |= {key: bootstrap.interval(by_group(ranked[key], groups)) for key in _LIST_FIGURES}
        report["best_by_score"] = _intervals(best_by_score(rows, judged, groups), bootstrap)
        report["accuracy_by_gap"] = _intervals(accuracy_by_gap(pairs, len(places)), bootstrap)
    shares = pair_figures(pairs, len(places))
    figures = {key: bootstrap.interval(figure) for key, figure in shares.items()} | figures
    figures["length_bias"] = bootstrap.difference(shares["accuracy_longer_better"], shares["accuracy_longer_worse"])
    sure = calibration(pairs, len(places), bootstrap)
    figures["calibration_error"] = sure.error
    report["pairs"] = len(pairs.gold)
    report["figures"] = {key: found._asdict() for key, found in figures.items()}
    report["calibration"] = [{"confidence": at, "accuracy": found._asdict()} for at, found in sure.bins]
    return report


def _judge(
    client: JudgeClient, rows: Sequence[Labelled], options: JudgeOptions, progress: RunProgress
) -> tuple[list[list[Judgment]], list[str]]:
    """A judgment of each answer, and the judging versions. An answer that stands in several rows is judged once."""
    items: dict[str, JudgeItem] = {}
    keys = []
    for row in rows:
        made = [JudgeItem(prompt=row.prompt, response=response) for response in row.responses]
        keys.append([content_key(item.model_dump(mode="json")) for item in made])
        items |= dict(zip(keys[-1], made, strict=True))
    judgments, versions = [], set()
    for judged in client.judge_many(items.values(), **options):
        judgments.append(judged.judgment)
        versions.add(judged.judge_version)
        progress.show({"phase": "judge", "done": len(judgments), "total": len(items)})
    found = dict(zip(items, judgments, strict=True))
    return [[found[key] for key in row] for row in keys], sorted(versions)


def _compare(
    client: JudgeClient, rows: Sequence[Labelled], options: JudgeOptions, progress: RunProgress
) -> list[PairVerdict]:
    chosen: PairwiseOptions = {
        "rubric": options.get("rubric", "additive5"),
        "votes": options.get("votes", 3),
        **({"policy": options["policy"]} if options.get("policy") else {}),
        **({"seed": options["seed"]} if options.get("seed") is not None else {}),
    }
    pairs: list[tuple[Turns, Turns, Turns]] = [
        (rows[index].prompt, rows[index].responses[a], rows[index].responses[b]) for index, a, b in pairs_of(list(rows))
    ]
    compared: list[PairVerdict] = []
    waiting = iter(pairs)
    while batch := list(islice(waiting, _COMPARED_AT_ONCE)):
        compared += client.compare(batch, **chosen)
        progress.show({"phase": "compare", "done": len(compared), "total": len(pairs)})
    return compared


def _consistency(
    pairs: Pairs, compared: Sequence[PairVerdict], bootstrap: Bootstrap, groups: int
) -> dict[str, Interval]:
    """Share of pairs whose verdict is the same in both orders, over those where the judge says so."""
    known = np.array([one.position_consistent is not None for one in compared], dtype=np.float64)
    same = np.array([one.position_consistent is True for one in compared], dtype=np.float64)
    parts = np.zeros((2, groups))
    for row, values in zip(parts, (same, known), strict=True):
        np.add.at(row, pairs.group, values)
    return {"position_consistency": bootstrap.of_sums(parts, lambda sums: sums[0] / np.where(sums[1], sums[1], np.nan))}


def _intervals(figures: dict[str, Any], bootstrap: Bootstrap) -> dict[str, dict[str, Any]]:
    return {key: bootstrap.interval(figure)._asdict() for key, figure in figures.items()}


def show(report: dict[str, Any], console: Console) -> None:
    """Print the figures as a table."""
    table = Table("figure", "value", "95 % interval", "n", title=f"{report['rubric']} on {report['file']}")
    for name, found in report["figures"].items():
        if found["value"] is None:
            table.add_row(name, "none", "", "0")
        else:
            interval = f"{found['low']:.3f} to {found['high']:.3f}"
            table.add_row(name, f"{found['value']:.3f}", interval, str(found["n"]))
    console.print(table)
    for note in report["notes"]:
        console.print(f"note: {note}", markup=False)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def judge_eval(
    file: Annotated[Path, typer.Argument(help="Labelled answers, .jsonl or .parquet.")],
    rubric: Annotated[str, typer.Option(help="Name or id of a rubric of the judge's.")] = "additive5",
    votes: Annotated[int, typer.Option(min=1, max=64, help="Judgments sampled for each answer.")] = 3,
    policy: Annotated[str | None, typer.Option(help="Judge by this version only, for example policy@3.")] = None,
    seed: Annotated[int | None, typer.Option(help="Repeatable votes.")] = None,
    out: Annotated[Path, typer.Option(help="Name of the two files written, without .json and .svg.")] = Path(
        "judge-eval"
    ),
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples behind each interval.")] = 1000,
) -> None:
    """Measure a judge on answers that people compared or ranked, with 95 % bootstrap intervals.

    The format is told by the columns: RewardBench (prompt, chosen, rejected), MT-Bench human judgments (question_id,
    conversation_a, conversation_b, winner, turn), or ranked answers (prompt, responses of text and rank).

    Written: OUT.json with every figure, and OUT.svg with accuracy, length bias, calibration, and what a score means.

    Example: selfreward judge-eval rewardbench.parquet --rubric additive5 --votes 5 --out reports/additive5
    """
    options: JudgeOptions = {"rubric": rubric, "votes": votes, "policy": policy, "seed": seed}
    try:
        with reachable_judge() as client, RunProgress(_err) as progress:
            report = measure(client, file, options, Bootstrap(resamples), progress)
    except (RowError, ServiceError) as error:
        _err.print(str(error), markup=False, highlight=False)
        raise typer.Exit(2) from None
    out.parent.mkdir(parents=True, exist_ok=True)
    written = [Path(f"{out}.json"), Path(f"{out}.svg")]
    written[0].write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    written[1].write_text(plot_svg(report))
    show(report, Console())
    typer.echo(" ".join(map(str, written)))


if __name__ == "__main__":
    app(prog_name="selfreward judge-eval")
