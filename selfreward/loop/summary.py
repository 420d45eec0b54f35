"""The record of one round: its prompts by outcome, and the monitors of the papers."""

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

    `prompts` counts all prompts of the round, with those that `failed` for good. `kept` prompts gave the `pairs`;
    `ties`, `unscored`, `below_margin`, `filtered` and `truncated` prompts gave none. The gap is None where no judge was
    asked. `mean_score` is of the valid votes, in rubric points; near the top of the scale the scores saturate.
    `mean_length` is of the first `sampled` answers of each rollout, and `truncated_rate` is the share of these answers
    (0 to 1) that ended at the token limit.
    """
    actor = [pair for pair in pairs if pair.kind == "actor"]
    answers = [response for rollout in rollouts for response in rollout.responses[:sampled]]
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
        "truncated": counts["truncated"],
        "judge_pairs": len(pairs) - len(actor),
        "chosen_rejected_gap": _mean(pair.margin for pair in actor if pair.rubric),
        "score_histogram": score_histogram(rollouts),
        "mean_score": _mean(score for score in _scores(rollouts) if score is not None),
        "mean_length": _mean(len(response.text) for response in answers),
        "truncated_rate": _mean(float(response.finish_reason == "length") for response in answers),
        "mean_length_chosen": _mean(len(pair.chosen[-1].content) for pair in actor),
        "mean_length_rejected": _mean(len(pair.rejected[-1].content) for pair in actor),
        "invalid_vote_rate": _mean(float(score is None) for score in _scores(rollouts)),
        "policy_version": rollouts[0].policy_version if rollouts else None,
    }


def score_histogram(rollouts: Iterable[Rollout]) -> dict[str, int]:
    """The number of valid votes by score (`4`, `4.5`)."""
    votes = Counter(score for score in _scores(rollouts) if score is not None)
    return {f"{score:g}": votes[score] for score in sorted(votes)}


def _scores(rollouts: Iterable[Rollout]) -> Iterable[float | None]:
    for rollout in rollouts:
        for judgment in rollout.judgments:
            for vote in judgment.votes:
                yield vote.score


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return fmean(listed) if listed else None
