"""The watchdogs' figures and alarms: pure functions of rollouts, judgments and human ranks.

The figures are the monitors that the papers imply: collapse of the scores and of the pair yield (Yuan et al. 2024,
2401.10020; without EFT the scores collapse to 4 and 429 pairs remain), length (1,092 to 2,552 characters from M1 to M3,
ibid.), and the judge against a fixed human-ranked set (table 4, ibid.), never against its own scores.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from statistics import fmean, pstdev

from selfreward.contracts.rollouts import Rollout
from selfreward.loop.record import Alarm
from selfreward.recipe.watchdogs import Watchdogs

Figures = dict[str, float | None]
"""Figures by watchdog. None, where there is nothing to measure, never raises an alarm."""

FALLING = {"score_spread", "update_kept"}
"""Watchdogs that raise an alarm below their threshold; the others raise it above."""

_MESSAGES = {
    "one_score": "{value:.0%} of the valid votes give one and the same score (threshold {threshold:.0%}): the judge "
    "hardly tells answers apart any more",
    "score_spread": "the votes' standard deviation is {value:.3g} rubric points (threshold {threshold:g}): the judge "
    "hardly tells answers apart any more",
    "parse_failures": "{value:.0%} of the votes lack a score, or the engine had to be held to its form (threshold "
    "{threshold:.0%}): raise judging.max_tokens if "
    "they are truncated, else the judge has left the rubric's form",
    "ties": "{value:.0%} of the prompts give no pair because all their answers have one score (threshold "
    "{threshold:.0%}): raise judging.votes or sampling.temperature, or take a finer rubric",
    "length_growth": "answers are {value:.2f} times as long as M1's (threshold {threshold:g}): read some of them, the "
    "judge may reward length",
    "judge_drift": "pairwise accuracy on the human-ranked answers is {value:.3f} below M1's (threshold {threshold:g}): "
    "raise pairs.judge_pairs or lower dpo.learning_rate",
    "position_bias": "the share of comparisons that the text shown first wins is {value:.2f} from one half "
    "(threshold {threshold:g}): the judge goes by position, and only what it says in both orders can be trusted",
    "update_kept": "the served weights keep {value:.1%} of the training's update (threshold {threshold:.0%}): rounding "
    "swallows it, so the generator serves hardly more than the model before",
}


def vote_figures(rollouts: Sequence[Rollout]) -> Figures:
    """`one_score` and `parse_failures` (shares of the votes) and `score_spread` (rubric points) of judged rollouts.

    `score_spread` is the population standard deviation of the valid votes, and None with fewer than two of them. A vote
    whose verdict the engine had to write in its form is a parse failure too.
    """
    votes = [vote for rollout in rollouts for judgment in rollout.judgments for vote in judgment.votes]
    scores = [vote.score for vote in votes if vote.score is not None]
    failures = sum(vote.status != "ok" or vote.constrained for vote in votes)
    return {
        "one_score": max(Counter(scores).values()) / len(scores) if len(scores) > 1 else None,
        "score_spread": pstdev(scores) if len(scores) > 1 else None,
        "parse_failures": failures / len(votes) if votes else None,
    }


def match_figures(rollouts: Sequence[Rollout]) -> Figures:
    """`position_bias` (0 to 0.5) and `parse_failures` (a share) of the comparisons in rollouts.

    The bias is the distance from one half of the share of decided matches that the text shown first wins. Every pair is
    shown in both orders, so a judge without bias has 0, whatever it prefers (Zheng et al. 2023, 2306.05685, table 2;
    Meta-Rewarding, 2407.19594, section 4, finds a share of 68 % for its own judge).
    """
    matches = [match for rollout in rollouts for match in rollout.matches]
    matches += [match for rollout in rollouts for step in rollout.steps for match in step.matches]
    decided = [match.outcome == 1 for match in matches if match.outcome]
    return {
        "position_bias": abs(sum(decided) / len(decided) - 0.5) if decided else None,
        "parse_failures": sum(match.status != "ok" for match in matches) / len(matches) if matches else None,
    }


def tie_rate(counts: Mapping[str, int]) -> float | None:
    """Share of the prompts with at least two scored answers whose answers all have one score.

    `counts` are the round's prompts by outcome (`kept`, `ties`, `below_margin`, `filtered`, and `truncated`, which old
    records lack). Unscored prompts count in `parse_failures`.
    """
    decided = sum(counts[outcome] for outcome in ("kept", "ties", "below_margin", "filtered"))
    decided += counts.get("truncated", 0)
    return counts["ties"] / decided if decided else None


def length_growth(first: Sequence[Rollout], now: Sequence[Rollout]) -> float | None:
    """Mean answer length (characters) of `now` over that of `first`; None if either has no characters."""
    before, after = ([len(row.text) for rollout in rollouts for row in rollout.responses] for rollouts in (first, now))
    return fmean(after) / fmean(before) if any(before) and after else None


def judge_accuracies(
    ranks: Mapping[str, Sequence[float]], judged: Mapping[str, Sequence[Rollout]]
) -> dict[str, float | None]:
    """Pairwise accuracy (0 to 1, judge ties wrong) of each model's judgments of the human-ranked answers.

    `ranks` are by prompt id (1 is best), `judged` by model. Only prompts that every model has judged count, so that the
    figures are comparable. Without such prompts, each figure is None.
    """
    ids = [{rollout.prompt_id for rollout in rollouts} for rollouts in judged.values()]
    common = set(ranks).intersection(*ids)
    accuracies: dict[str, float | None] = {}
    for model, rollouts in judged.items():
        comparable = [rollout for rollout in rollouts if rollout.prompt_id in common]
        accuracies[model] = pairwise_accuracy(
            (ranks[rollout.prompt_id], [judgment.score for judgment in rollout.judgments]) for rollout in comparable
        )
    return accuracies


def pairwise_accuracy(ranked: Iterable[tuple[Sequence[float], Sequence[float | None]]]) -> float | None:
    """Share of the pairs of answers of unequal rank (1 is best) that the scores order alike; None without such pairs.

    `ranked` has the ranks and the scores of each prompt's answers. A pair with equal scores or a missing score is
    wrong. `selfreward.evaluation.judge_metrics` computes the same figure with NumPy, with intervals, for the report.
    """
    right = [
        a is not None and b is not None and (a > b if rank_a < rank_b else a < b)
        for ranks, scores in ranked
        for (rank_a, a), (rank_b, b) in combinations(zip(ranks, scores, strict=True), 2)
        if rank_a != rank_b
    ]
    return sum(right) / len(right) if right else None


def best(accuracies: Mapping[str, float | None]) -> tuple[str, float] | None:
    """The model with the highest accuracy, and that accuracy; None if none was measured.

    Of equals the earliest wins: a round without measured gain may have an unmeasured cost.
    """
    measured = [(model, accuracy) for model, accuracy in accuracies.items() if accuracy is not None]
    return max(measured, key=lambda entry: entry[1], default=None)


def alarms(stage: str, phase: str, figures: Figures, watchdogs: Watchdogs) -> list[Alarm]:
    """An alarm for each figure past its threshold, in the order of the recipe's `[watchdogs]`."""
    raised = []
    for name, entry in watchdogs.by_name.items():
        value = figures.get(name)
        if value is None:
            continue
        if value < entry.threshold if name in FALLING else value > entry.threshold:
            message = _MESSAGES[name].format(value=value, threshold=entry.threshold)
            raised.append(
                Alarm(
                    stage=stage,
                    phase=phase,
                    watchdog=name,
                    value=value,
                    threshold=entry.threshold,
                    action=entry.action,
                    message=f"watchdog {name} in {stage}: {message}",
                )
            )
    return raised


def decide(raised: Sequence[Alarm], acknowledged: set[str]) -> list[Alarm]:
    """The alarms that end the run now: the unacknowledged ones with the gravest action.

    Empty if the run goes on. `rollback` is graver than `stop`, `stop` is graver than `pause`, and `warn` never ends a
    run.
    """
    open_alarms = [alarm for alarm in raised if alarm.key not in acknowledged]
    for action in ("rollback", "stop", "pause"):
        if chosen := [alarm for alarm in open_alarms if alarm.action == action]:
            return chosen
    return []
