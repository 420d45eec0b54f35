"""The report's tables about training: rounds, implicit rewards, the meta-judge, rewards and alarms."""

from typing import Any

from selfreward.evaluation.report.cells import DASH, Table, number, percent


def round_tables(report: dict[str, Any]) -> list[Table]:
    """All of these tables that have something in them."""
    rounds = report["iterations"]
    candidates = [
        _rounds(rounds),
        _pairs(rounds),
        _implicit(rounds),
        _meta(rounds),
        _rewards(report.get("rewards", [])),
        _alarms(report.get("alarms", [])),
    ]
    return [table for table in candidates if table is not None]


def _rounds(iterations: list[dict[str, Any]]) -> Table | None:
    columns = ("trains", "prompts", "pairs", "ties", "unscored", "yield %", "minutes")
    rows = [
        (
            entry["stage"],
            *(DASH if entry[name] is None else f"{entry[name]:,}" for name in ("prompts", "pairs", "ties", "unscored")),
            percent(entry["pair_yield"]),
            f"{sum((entry['seconds'] or {}).values()) / 60:.1f}",
        )
        for entry in iterations
    ]
    note = "Prompts of each round by outcome. Yield: prompts that gave a preference pair."
    return Table("Rounds", note, columns, rows) if rows else None


def _pairs(iterations: list[dict[str, Any]]) -> Table | None:
    checked = any(entry["pairs_right"]["n"] for entry in iterations)
    columns = ("trains", "score gap", "length ratio", *(["right %", "wrong %"] if checked else []))
    rows = [
        (
            entry["stage"],
            number(entry["chosen_rejected_gap"]),
            number(entry["length_ratio"]),
            *([percent(entry["pairs_right"]), percent(entry["pairs_wrong"])] if checked else []),
        )
        for entry in iterations
        if entry["pairs"]
    ]
    note = "Preference pairs by the recipe's method. Gap and length ratio: chosen against rejected answers."
    if checked:
        note += " Right and wrong: the checker's view of the pairs afterwards; the rest are equal to it."
    return Table("Pairs", note, columns, rows) if rows else None


def _implicit(iterations: list[dict[str, Any]]) -> Table | None:
    shown = [entry for entry in iterations if entry.get("consistency") is not None]
    agreed = any(entry.get("agreement") is not None for entry in shown)
    rows = [
        (
            entry["stage"],
            f"{entry['consistency']:.3f}",
            f"{entry['kendall_tau']:.3f}",
            *([f"{100 * entry['agreement']:.1f}"] if agreed else []),
        )
        for entry in shown
    ]
    columns = ("trains", "consistency", "Kendall τ", *(["judge agrees %"] if agreed else []))
    note = (
        "How alike the round's policy and the model before it rank its answers by their own probabilities: the share "
        "of answer pairs in one order (CREAM's C), and Kendall's τ."
    )
    if agreed:
        note += " The judge agrees where it prefers the answer that these probabilities prefer."
    return Table("Implicit rewards", note, columns, rows) if rows else None


_META = ("no_verdict", "prefers_higher_score", "first_wins", "flips")


def _meta(iterations: list[dict[str, Any]]) -> Table | None:
    rows = [
        (
            entry["stage"],
            f"{entry['meta']['prompts']:,}",
            f"{entry['meta']['kept']:,}",
            *(DASH if (share := entry["meta"][name]) is None else f"{100 * share:.1f}" for name in _META),
        )
        for entry in iterations
        if entry.get("meta")
    ]
    columns = (
        "trains",
        "prompts",
        "judge pairs",
        "no verdict %",
        "for the higher score %",
        "for the first %",
        "flips %",
    )
    note = (
        "Judgments compared by the model that wrote them. Near 100 % for the higher score the meta-judge adds nothing "
        "to the scores; far from 50 % for the first it prefers a position."
    )
    return Table("Meta-judge", note, columns, rows) if rows else None


def _alarms(raised: list[dict[str, Any]]) -> Table | None:
    rows = [
        (alarm["stage"], alarm["watchdog"], f"{alarm['value']:.3g}", f"{alarm['threshold']:g}", alarm["action"])
        for alarm in raised
    ]
    note = "Watchdogs that fired, by the model they fired at. What each means and what to do: docs/watchdogs.md."
    return Table("Alarms", note, ("model", "watchdog", "value", "threshold", "action"), rows) if rows else None


def _rewards(stages: list[dict[str, Any]]) -> Table | None:
    figures = ("reward", "checker", "precision", "recall", "false_positive_rate")
    rows = [
        (
            f"{stage['stage']}, {part} steps",
            f"{stage[part]['n']:,}",
            *(DASH if stage[part][name] is None else f"{100 * stage[part][name]:.1f}" for name in figures),
        )
        for stage in stages
        for part in ("first", "last")
    ]
    alarms = [f" ALARM in {stage['stage']}: {alarm}." for stage in stages for alarm in stage["alarms"]]
    note = (
        "The answers that trained by reinforcement, in the first and the last quarter of the steps: the judge's reward "
        "against the independent checker, which the training never sees."
    ) + "".join(alarms)
    columns = ("model", "answers", "rewarded %", "right %", "precision %", "recall %", "false positives %")
    return Table("Rewards", note, columns, rows) if rows else None
