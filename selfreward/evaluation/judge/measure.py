"""Measure a judge on labelled answers: accuracy, bias, consistency, calibration, each with its interval."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from selfreward.client.judge_inputs import JudgeOptions, Turns
from selfreward.client.judge_sync import JudgeClient
from selfreward.contracts.base import content_key
from selfreward.contracts.comparisons import PairVerdict
from selfreward.contracts.judging import JudgeItem, Judgment
from selfreward.evaluation.bootstrap import Bootstrap, Interval, Ratio
from selfreward.evaluation.judge.agreement import Acceptance, best_is_right, pair_kappa, self_preference
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
from selfreward.evaluation.judge_metrics import grades, judge_figures
from selfreward.evaluation.models.preferences import COMPARING, pairwise_options
from selfreward.progress import ShowProgress

_COMPARED_AT_ONCE = 64
_LIST_FIGURES = ("exact_match", "spearman", "kendall_tau_b", "five_best")


def measure_judge(
    client: JudgeClient,
    file: Path,
    options: JudgeOptions,
    bootstrap: Bootstrap,
    progress: ShowProgress,
    own: str | None = None,
) -> dict[str, Any]:
    """The report of a judge on a labelled file. Raises RowError for the file, ServiceError for the judge.

    `own` is the model, as the file names it, whose answers are the judge's own.
    """
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
        if all(row.ties for row in rows):
            scores = [[judgment.score for judgment in row] for row in judged]
            ranked = judge_figures(grades([row.gold for row in rows], scores), float(rubric["scale"]["max"]))
            figures |= {key: bootstrap.interval(by_group(ranked[key], groups)) for key in _LIST_FIGURES}
        else:
            report["notes"].append("right and wrong answers have no order among themselves: no figures of whole lists")
        accepted = Acceptance(rows, judged, groups, (rubric["scale"]["min"] + rubric["scale"]["max"]) / 2)
        figures |= {key: bootstrap.interval(figure) for key, figure in accepted.rates().items()}
        figures["kappa_accepted"] = accepted.kappa(bootstrap)
        figures["best_is_right"] = bootstrap.interval(best_is_right(rows, judged, groups))
        report["best_by_score"] = _intervals(best_by_score(rows, judged, groups), bootstrap)
        report["accuracy_by_gap"] = _intervals(accuracy_by_gap(pairs, len(places)), bootstrap)
    shares = pair_figures(pairs, len(places))
    figures = {key: bootstrap.interval(figure) for key, figure in shares.items()} | figures
    figures["length_bias"] = bootstrap.difference(shares["accuracy_longer_better"], shares["accuracy_longer_worse"])
    figures["kappa"] = pair_kappa(pairs, len(places), bootstrap)
    if own is not None:
        preference = self_preference(rows, pairs, len(places), own)
        figures["self_preference"] = bootstrap.interval(preference["figure"])
        report["self_preference"] = {"own": own, "pairs": preference["pairs"]}
    calibrated = calibration(pairs, len(places), bootstrap)
    figures["calibration_error"] = calibrated.error
    report["pairs"] = len(pairs.gold)
    report["figures"] = {key: interval._asdict() for key, interval in figures.items()}
    report["calibration"] = [
        {"confidence": confidence, "accuracy": accuracy._asdict()} for confidence, accuracy in calibrated.bins
    ]
    return report


def _judge(
    client: JudgeClient, rows: Sequence[Labelled], options: JudgeOptions, progress: ShowProgress
) -> tuple[list[list[Judgment]], list[str]]:
    """A judgment of each answer, and the judging versions. An answer that stands in several rows is judged once."""
    items: dict[str, JudgeItem] = {}
    keys = []
    for row in rows:
        answers = [JudgeItem(prompt=row.prompt, response=response) for response in row.responses]
        keys.append([content_key(item.model_dump(mode="json")) for item in answers])
        items |= dict(zip(keys[-1], answers, strict=True))
    judgments, versions = [], set()
    for judged in client.judge_many(items.values(), **options):
        judgments.append(judged.judgment)
        versions.add(judged.judge_version)
        progress({"phase": "judge", "done": len(judgments), "total": len(items)})
    by_key = dict(zip(items, judgments, strict=True))
    return [[by_key[key] for key in row] for row in keys], sorted(versions)


def _compare(
    client: JudgeClient, rows: Sequence[Labelled], options: JudgeOptions, progress: ShowProgress
) -> list[PairVerdict]:
    chosen = pairwise_options(options)
    pairs: list[tuple[Turns, Turns, Turns]] = [
        (rows[index].prompt, rows[index].responses[a], rows[index].responses[b]) for index, a, b in pairs_of(list(rows))
    ]
    compared: list[PairVerdict] = []
    waiting = iter(pairs)
    while batch := list(islice(waiting, _COMPARED_AT_ONCE)):
        compared += client.compare(batch, **chosen)
        progress({"phase": "compare", "done": len(compared), "total": len(pairs)})
    return compared


def _consistency(
    pairs: Pairs, compared: Sequence[PairVerdict], bootstrap: Bootstrap, groups: int
) -> dict[str, Interval]:
    """Share of pairs whose verdict is the same in both orders, over those where the judge says so."""
    answered = np.array([verdict.position_consistent is not None for verdict in compared], dtype=np.float64)
    same = np.array([verdict.position_consistent is True for verdict in compared], dtype=np.float64)
    parts = np.zeros((2, groups))
    for row, values in zip(parts, (same, answered), strict=True):
        np.add.at(row, pairs.group, values)
    return {"position_consistency": bootstrap.of_sums(parts, lambda sums: sums[0] / np.where(sums[1], sums[1], np.nan))}


def _intervals(figures: Mapping[str, Ratio], bootstrap: Bootstrap) -> dict[str, dict[str, Any]]:
    return {key: bootstrap.interval(figure)._asdict() for key, figure in figures.items()}
