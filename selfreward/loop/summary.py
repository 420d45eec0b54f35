"""The record of one DPO round: what became of its prompts, and the monitors that the papers ask for."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from selfreward.contracts.rollouts import PreferencePair, Rollout


def summarise(
    stage: str,
    rollouts: Sequence[Rollout],
    pairs: Sequence[PreferencePair],
    counts: Mapping[str, int],
    failed: int,
    sampled: int,
) -> dict[str, Any]:
    """Counts of prompts by outcome, score gap (rubric points), vote histogram and lengths (characters).

    `prompts` counts all that were asked, with those that `failed` for good. `kept` of them gave the `pairs`;
    `ties`, `unscored`, `below_margin` and `filtered` gave none. The gap is None where nobody judged.
    `mean_score` is of the valid votes, in rubric points; one that nears the top of the scale says that it saturates.
    `mean_length` is of the `sampled` answers, the first ones of each rollout.
    """
    actor = [pair for pair in pairs if pair.kind == "actor"]
    return {
        "stage": stage,
        "prompts": len(rollouts) + failed,
        "failed": failed,
        "kept": counts["kept"],
        "pairs": len(actor),
        "ties": counts["tie"],
        "unscored": counts["unscored"],
        "below_margin": counts["below_margin"],
        "filtered": counts["filtered"],
        "judge_pairs": len(pairs) - len(actor),
        "chosen_rejected_gap": _mean(pair.margin for pair in actor if pair.rubric),
        "score_histogram": score_histogram(rollouts),
        "mean_score": _mean(score for score in _scores(rollouts) if score is not None),
        "mean_length": _mean(len(response.text) for rollout in rollouts for response in rollout.responses[:sampled]),
        "mean_length_chosen": _mean(len(pair.chosen[-1].content) for pair in actor),
        "mean_length_rejected": _mean(len(pair.rejected[-1].content) for pair in actor),
        "invalid_vote_rate": _mean(float(score is None) for score in _scores(rollouts)),
        "policy_version": rollouts[0].policy_version if rollouts else None,
    }


def score_histogram(rollouts: Iterable[Rollout]) -> dict[str, int]:
    """Valid votes by score; decimals keep their own class (`4.5`)."""
    found = Counter(score for score in _scores(rollouts) if score is not None)
    return {f"{score:g}": found[score] for score in sorted(found)}


def _scores(rollouts: Iterable[Rollout]) -> Iterable[float | None]:
    for rollout in rollouts:
        for judgment in rollout.judgments:
            for vote in judgment.votes:
                yield vote.score


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return fmean(listed) if listed else None
