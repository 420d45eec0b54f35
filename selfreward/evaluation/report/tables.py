"""The report's tables as text cells, in the shape of the paper's (Yuan et al. 2024, figure 3 and table 4).

Markdown and HTML render the same tables.
"""

from typing import Any

from selfreward.evaluation.report.cells import DASH, Table, number, percent
from selfreward.evaluation.report.findings.changes import steps
from selfreward.evaluation.report.round_tables import round_tables


def tables(report: dict[str, Any]) -> list[Table]:
    """All tables of a report that have something in them. A row fits into 80 columns where its cells allow it."""
    models, judges = report["models"], [model for model in report["models"] if model["judge_fixed"] or model["judge"]]
    names = [model["name"] for model in models]
    candidates = [
        _answers(models),
        _texts(models),
        _gains(report["differences"], report["gains"]),
        _head_to_head(report["comparisons"]),
        _judges(judges),
        _changes(report["differences"], names),
        _judge(
            judges,
            "judge",
            "Judge on each model's own answers",
            "Gold order: the independent checker's scores of sampled answers. Harder as the answers grow alike.",
        )
        if any(model["judge_on"] == "samples" for model in models)
        else None,
        _judge(
            judges,
            "judge_fixed",
            "Judge on the fixed ranked answers",
            "Gold order: the human ranks of the held-out EFT answers, the same for every model.",
        ),
        _goodhart(report.get("goodhart")),
        _votes([model for model in models if model["parse_failure_rate"]["value"] is not None]),
    ]
    return [table for table in candidates if table is not None] + round_tables(report)


def _answers(models: list[dict[str, Any]]) -> Table | None:
    rows = [
        (
            model["name"],
            percent(checker.get("solve_rate")),
            percent(checker.get("solve_rate_greedy")),
            percent(checker.get("solve_rate_best_of_n")),
        )
        for model in models
        for checker in [model["checker"] or {}]
    ]
    if not any(model["checker"] for model in models):
        return None
    first = next(model for model in models if model["checker"])["checker"]["solve_rate"]
    note = (
        f"By the independent checker, of {first['n']:,} held-out prompts, sampled as the recipe samples. "
        "Best of n (pass@n): an oracle picks among the samples. M0 is the untouched base model."
    )
    return Table("Held-out answers", note, ("model", "solved %", "solved, greedy %", "best of n %"), rows)


def _texts(models: list[dict[str, Any]]) -> Table:
    checked, kept = (any(model[name] is not None for model in models) for name in ("checker", "update_kept"))
    rows = [
        (
            model["name"],
            *([number((model["checker"] or {}).get("mean_score"))] if checked else []),
            number(model["mean_length"], digits=1),
            percent(model["truncated_rate"]),
            *([DASH if model["update_kept"] is None else f"{100 * model['update_kept']:.1f}"] if kept else []),
        )
        for model in models
    ]
    columns = ("model", *(["mean score"] if checked else []), "characters", "truncated %")
    note = "Truncated: answers that ended at the token limit."
    if kept:
        note += " Update kept: the share of the training's update that the published weights have."
    if not checked:
        note = f"No independent labels were given: quality is known only through the judge. {note}"
    return Table("Length of the answers", note, (*columns, *(["update kept %"] if kept else [])), rows)


def _gains(differences: list[dict[str, Any]], gains: list[dict[str, str]]) -> Table | None:
    by_models = {(entry["a"], entry["b"]): entry for entry in differences}
    figures = ("solve_rate", "solve_rate_greedy", "solve_rate_best_of_n")
    rows = [
        (
            f"{gain['a']} − {gain['b']}",
            *(percent(by_models[gain["a"], gain["b"]][name]) for name in figures),
            gain["kind"],
        )
        for gain in gains
    ]
    note = (
        "Points; prompts resampled together: an interval that excludes 0 is a change that the data show. "
        "Better: greedy and best of n are up. Sharper: only sampled is up."
    )
    return Table("Gains", note, ("", "solved", "greedy", "best of n", "gain"), rows) if rows else None


def _head_to_head(comparisons: list[dict[str, Any]]) -> Table | None:
    rows = [
        (f"{c['a']} vs {c['b']}", *(percent(c[name]) for name in ("win", "lose", "win_minus_lose")))
        for c in comparisons
    ]
    note = (
        "The k-th answers of both models to each prompt, compared in both orders; a disagreement is a tie, which "
        "is what is left."
    )
    return Table("Head to head", note, ("", "win %", "lose %", "win − lose"), rows) if rows else None


def _judges(judges: list[dict[str, Any]]) -> Table | None:
    own = any(model["judge_on"] == "samples" for model in judges)
    rows = [
        (
            model["name"],
            *([percent((model["judge"] or {}).get("pairwise_accuracy"))] if own else []),
            percent((model["judge_fixed"] or {}).get("pairwise_accuracy")),
        )
        for model in judges
    ]
    columns = ("judge", *(["own answers %"] if own else []), "fixed answers %")
    note = "Pairwise accuracy, a judge's tie being wrong. Fixed: human-ranked answers, the same for every model."
    return Table("Judge: pairwise accuracy", note, columns, rows) if rows else None


_CHANGES = (
    ("judge_pairwise_accuracy", "judge, own answers", percent),
    ("judge_fixed_pairwise_accuracy", "judge, fixed answers", percent),
    ("mean_length", "characters", number),
)


def _changes(differences: list[dict[str, Any]], names: list[str]) -> Table | None:
    by_models = {(entry["a"], entry["b"]): entry for entry in differences}
    asked = [by_models[step] for step in steps(names)]
    shown = [column for column in _CHANGES if any(entry[column[0]] for entry in asked)]
    rows = [(f"{entry['a']} − {entry['b']}", *(show(entry[name]) for name, _, show in shown)) for entry in asked]
    note = "Judges in points of pairwise accuracy; prompts resampled together."
    return Table("Changes of judge and length", note, ("", *(label for _, label, _ in shown)), rows) if rows else None


_JUDGE_ROWS = (
    ("pairwise_accuracy", "Pairwise accuracy %", percent),
    ("pairwise_accuracy_ties_half", "… judge ties as half %", percent),
    ("five_best", "5-best %", percent),
    ("exact_match", "Exact match %", percent),
    ("spearman", "Spearman correlation", number),
    ("kendall_tau_b", "Kendall τ-b", number),
)


def _judge(models: list[dict[str, Any]], section: str, title: str, note: str) -> Table | None:
    if not any(model[section] for model in models):
        return None
    rows = [(label, *(show((model[section] or {}).get(name)) for model in models)) for name, label, show in _JUDGE_ROWS]
    return Table(title, note, ("", *(model["name"] for model in models)), rows)


def _votes(models: list[dict[str, Any]]) -> Table | None:
    rows = [
        (
            model["name"],
            percent(model["parse_failure_rate"]),
            percent(model["unscored_rate"]),
            number(model["own_score"]),
            percent(model["share_at_top"]),
            DASH if model["own_votes_entropy_bits"] is None else f"{model['own_votes_entropy_bits']:.2f}",
        )
        for model in models
    ]
    columns = ("model", "votes not parsed %", "answers unscored %", "own mean score", "votes at 5 %", "entropy, bits")
    note = "How each model judges. Its own score is no measure of quality; a drift towards 5 is a warning."
    return Table("Votes", note, columns, rows) if rows else None


def _goodhart(panel: dict[str, Any] | None) -> Table | None:
    if panel is None or len(panel["points"]) < 2:
        return None
    checked = panel["independent"] == "checker"
    show = number if checked else percent
    rows = [
        (
            f"{point['model']} − {step['since']}",
            number(point["loop"]),
            number(step["loop"]),
            show(point["independent"]),
            show(step["independent"]),
            "ALARM" if step["alarm"] else DASH,
        )
        for point in panel["points"]
        for step in point["steps"]
    ]
    measure = "the checker's mean of the same answers" if checked else "judge accuracy on the human-ranked answers"
    columns = ("", "own score", "change", "independent", "change", "alarm")
    note = (
        f"Each model's mean score of its own answers, and an independent one: {measure}. Alarm: the own score is up "
        "and the independent one is not (docs/evaluation.md)."
    )
    return Table("Loop score against independent score", note, columns, rows)
