"""Signs that a run has nothing left to learn from its own verdicts. All of them are pure functions of the report."""

from collections.abc import Mapping, Sequence
from typing import Any

from selfreward.evaluation.report.findings.changes import Figure, above_zero

FEWEST_PAIRS = 0.1
"""Share of a round's prompts that gave a pair, below which a round had next to nothing to learn from. Our choice: no
paper gives a limit."""
TOP_SHARE = 0.9
"""Share of a round's votes at the highest score that any answer got, above which the judge tells no answers apart."""
PLATEAU = 0.01
"""Change of the judge's accuracy over two rounds, up or down, that counts as none."""
_ROUNDS_OF_A_PLATEAU = 2

REMEDIES = {
    "few_pairs": "give prompts that the model neither always nor never solves, raise sampling.temperature or "
    "sampling.n, or end the run here",
    "top_scores": "give harder prompts or a rubric that asks for more, and raise pairs.judge_pairs",
    "judge_plateau": "teach the judge with new ranked answers (data.eft) or give harder prompts; more rounds of this "
    "judge repeat what it knows",
}


def nothing_left(
    rounds: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    differences: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Signs as `{stage, reason, value, threshold, remedy}`: by round, then the plateau of the judge.

    `rounds` are the report's `iterations`, `names` its models in order, `differences` its changes between them. The
    judge is on a plateau where its accuracy on the fixed ranked answers did not move over the last two rounds, and the
    answers did not gain either: by the checker, sampled or greedy, or without a checker by the models' own scores.
    """
    signs = []
    for entry in rounds:
        # A round that trained on something else than pairs has none.
        pairs = entry["pair_yield"]["value"] if entry["pairs"] else None
        signs.append(
            _sign(entry["stage"], "few_pairs", pairs, FEWEST_PAIRS, pairs is not None and pairs < FEWEST_PAIRS)
        )
        top = share_at_highest(entry["score_histogram"])
        signs.append(_sign(entry["stage"], "top_scores", top, TOP_SHARE, top is not None and top > TOP_SHARE))
    rounds_of = [name for name in names if name.startswith("M") and name != "M0"]
    if len(rounds_of) > _ROUNDS_OF_A_PLATEAU:
        last, before = rounds_of[-1], rounds_of[-1 - _ROUNDS_OF_A_PLATEAU]
        change = next(entry for entry in differences if (entry["a"], entry["b"]) == (last, before))
        checked = change["solve_rate"] is not None
        answers = [change[name] for name in (("solve_rate", "solve_rate_greedy") if checked else ("own_score",))]
        judge = change["judge_fixed_pairwise_accuracy"]
        flat = is_plateau(judge, answers)
        signs.append(_sign(last, "judge_plateau", judge and judge["value"], PLATEAU, flat))
    return [sign for sign in signs if sign is not None]


def share_at_highest(histogram: Mapping[str, int] | None) -> float | None:
    """Share of the votes at the highest score that occurs; None without votes. `histogram`: counts by score (`4.5`)."""
    votes = sum(histogram.values()) if histogram else 0
    if not histogram or not votes:
        return None
    return histogram[max(histogram, key=float)] / votes


def is_plateau(judge: Figure, answers: Sequence[Figure]) -> bool:
    """Whether the judge stands still (its change is within `PLATEAU`) and none of the `answers`' changes is a gain."""
    if judge is None or judge["value"] is None or abs(judge["value"]) > PLATEAU or above_zero(judge):
        return False
    return not any(above_zero(change) for change in answers)


def _sign(stage: str, reason: str, value: float | None, threshold: float, fires: bool) -> dict[str, Any] | None:
    if not fires:
        return None
    return {"stage": stage, "reason": reason, "value": value, "threshold": threshold, "remedy": REMEDIES[reason]}
