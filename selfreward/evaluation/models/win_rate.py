"""The win rate of a model's answers against a baseline's: raw, and with the length's part taken out."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selfreward.client.judge_inputs import JudgeOptions
from selfreward.client.judge_sync import JudgeClient
from selfreward.evaluation.bootstrap import Bootstrap, Interval, Ratio, ratio
from selfreward.evaluation.models.answer_files import Duel, duels, load_answers
from selfreward.evaluation.models.arena import BOOTSTRAP, arena_score
from selfreward.evaluation.models.length_control import FOLDS, far_from_raw, length_controlled, length_feature
from selfreward.evaluation.models.preferences import COMPARING, Decided, decide, shares
from selfreward.progress import ShowProgress


def measure_win_rate(
    client: JudgeClient,
    answers: Path,
    baseline: Path,
    options: JudgeOptions,
    bootstrap: Bootstrap,
    progress: ShowProgress,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Judge two files of answers: the report, and a row for each duel with what was decided.

    Raises RowError for files, ServiceError for the judge.
    """
    contest = duels(load_answers(answers), load_answers(baseline))
    rubric = client.rubric(options.get("rubric", "pairwise"))
    decided = decide(client, rubric["kind"], contest, options, progress)
    report = {
        "answers": str(answers),
        "baseline": str(baseline),
        "rubric": rubric["id"],
        "orders": "both, a disagreement is a tie" if rubric["kind"] in COMPARING else "each answer by itself",
        "votes": options.get("votes"),
        "policy": options.get("policy"),
        "seed": options.get("seed"),
        "bootstrap": {"resamples": bootstrap.resamples, "seed": bootstrap.seed, "level": bootstrap.level},
        **win_rates(contest, [decision.preference for decision in decided], bootstrap),
    }
    if rubric["kind"] == "arena":
        score = arena_score([decision.verdict for decision in decided], [duel.group for duel in contest])
        report["arena"] = {**score._asdict(), "level": BOOTSTRAP.level, "resamples": BOOTSTRAP.resamples}
    return report, _rows(contest, decided)


def _rows(contest: Sequence[Duel], decided: Sequence[Decided]) -> list[dict[str, Any]]:
    return [
        {
            "prompt": [turn.model_dump() for turn in duel.prompt],
            "a": duel.a,
            "b": duel.b,
            "preference": None if math.isnan(decision.preference) else decision.preference,
            "scores": decision.scores,
            "verdict": decision.verdict.model_dump(mode="json") if decision.verdict else None,
        }
        for duel, decision in zip(contest, decided, strict=True)
    ]


def win_rates(duels: Sequence[Duel], preferences: Sequence[float], bootstrap: Bootstrap) -> dict[str, Any]:
    """Every figure of a contest, shares from 0 to 1 with their intervals over prompts, as JSON-ready data.

    `preferences` holds for each duel 1 (a wins), 0 (b wins), 0.5 (a tie), anything between, or NaN (undecided, left
    out). The length-controlled win rate needs decided duels of at least 5 prompts and is without value below that;
    `warnings` says where it is not to be trusted.
    """
    groups = [duel.group for duel in duels]
    counted = shares(preferences, groups)
    figures = {name: bootstrap.interval(figure) for name, figure in counted.items()}
    figures["win_minus_lose"] = bootstrap.difference(counted["win"], counted["lose"])
    decided = [place for place, preference in enumerate(preferences) if not math.isnan(preference)]
    warnings: list[str] = []
    model = None
    figures["length_controlled_win_rate"] = Interval(None, None, None, 0)
    if len({groups[place] for place in decided}) >= FOLDS:
        kept = [duels[place] for place in decided]
        feature = length_feature([len(duel.a) for duel in kept], [len(duel.b) for duel in kept])
        figures["length_controlled_win_rate"], model = length_controlled(
            [preferences[place] for place in decided], feature, [duel.group for duel in kept], bootstrap
        )
        raw = figures["win_rate"].value or 0.0
        if far_from_raw(raw, model.win_rate):
            warnings.append(
                f"the length-controlled win rate ({model.win_rate:.1%}) is far from the raw one ({raw:.1%}): the two "
                "models' lengths may hardly overlap, so that length and quality cannot be told apart; read some answers"
            )
    longer = [place for place in decided if len(duels[place].a) != len(duels[place].b)]
    figures["longer_wins"] = bootstrap.interval(_longer([duels[p] for p in longer], [preferences[p] for p in longer]))
    figures |= {
        name: bootstrap.interval(ratio(*_lengths(duels, side)))
        for name, side in (("mean_length", "a"), ("mean_length_baseline", "b"))
    }
    return {
        "prompts": len(set(groups)),
        "duels": len(duels),
        "figures": {name: interval._asdict() for name, interval in figures.items()},
        "length_model": model._asdict() if model else None,
        "warnings": warnings,
    }


def _lengths(duels: Sequence[Duel], side: str) -> tuple[list[float], list[float]]:
    """Characters and answers of each prompt."""
    prompts = max((duel.group for duel in duels), default=-1) + 1
    sums, counts = np.zeros(prompts), np.zeros(prompts)
    for duel in duels:
        sums[duel.group] += len(getattr(duel, side))
        counts[duel.group] += 1
    return list(sums), list(counts)


def _longer(duels: Sequence[Duel], preferences: Sequence[float]) -> Ratio:
    """How often the longer of two answers wins, a tie counting half: 0.5 where length decides nothing."""
    prompts = max((duel.group for duel in duels), default=-1) + 1
    sums, counts = np.zeros(prompts), np.zeros(prompts)
    for duel, preference in zip(duels, preferences, strict=True):
        sums[duel.group] += preference if len(duel.a) > len(duel.b) else 1 - preference
        counts[duel.group] += 1
    return ratio(sums, counts)
