"""Which of two answers a judge prefers, asked in both orders, as a number: 1 the first, 0 the second, 0.5 neither.

A rubric that compares is shown both orders and decides only when it says the same both times (Zheng et al. 2023,
2306.05685: the conservative way). A rubric that scores sees one answer at a time; the higher score wins. NaN stands for
a comparison that the judge could not decide because a vote could not be read.
"""

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple, cast

from selfreward.client.judge_inputs import JudgeOptions, PairwiseOptions
from selfreward.client.judge_sync import JudgeClient
from selfreward.contracts.comparisons import PairItem, PairVerdict
from selfreward.contracts.judging import JudgeItem, Judgment
from selfreward.evaluation.bootstrap import Ratio, ratio
from selfreward.evaluation.models.answer_files import Duel
from selfreward.progress import ShowProgress

COMPARING = ("pairwise", "arena", "constitution", "debate")
"""Kinds of rubrics that are shown both answers."""

_AT_ONCE = 64
_PREFERENCE = {"a": 1.0, "b": 0.0, "tie": 0.5, "unscored": float("nan")}


class Decided(NamedTuple):
    """A duel's preference and what it rests on: a comparison, or two scores (None where the two answers are equal)."""

    preference: float
    verdict: PairVerdict | None = None
    scores: tuple[float | None, float | None] | None = None


def decide(
    client: JudgeClient, kind: str, duels: Sequence[Duel], options: JudgeOptions, progress: ShowProgress
) -> list[Decided]:
    """Each duel's preference by the rubric in `options`, which is of this kind. Raises ServiceError."""
    by = _by_comparison if kind in COMPARING else _by_score
    return by(client, duels, options, progress)


def pairwise_options(options: JudgeOptions) -> PairwiseOptions:
    """The same options for a comparison, without those that are None."""
    return cast("PairwiseOptions", {name: value for name, value in options.items() if value is not None})


def _by_comparison(
    client: JudgeClient, duels: Sequence[Duel], options: JudgeOptions, progress: ShowProgress
) -> list[Decided]:
    """Compare both answers of each duel. Equal texts tie unasked. Raises ServiceError."""
    unequal = [
        (place, PairItem(id=str(place), prompt=duel.prompt, a=duel.a, b=duel.b))
        for place, duel in enumerate(duels)
        if duel.a != duel.b
    ]
    decided = [Decided(0.5)] * len(duels)
    waiting, done = iter(unequal), 0
    while batch := list(islice(waiting, _AT_ONCE)):
        verdicts = client.compare([item for _, item in batch], **pairwise_options(options))
        for (place, _), verdict in zip(batch, verdicts, strict=True):
            decided[place] = Decided(_PREFERENCE[verdict.winner], verdict)
        done += len(batch)
        progress({"phase": "judge", "done": done, "total": len(unequal)})
    return decided


def _by_score(
    client: JudgeClient, duels: Sequence[Duel], options: JudgeOptions, progress: ShowProgress
) -> list[Decided]:
    """Score both answers of each duel; every distinct answer to a prompt is judged once. Raises ServiceError."""
    texts = {(duel.group, text): duel.prompt for duel in duels if duel.a != duel.b for text in (duel.a, duel.b)}
    items = [JudgeItem(prompt=prompt, response=text) for (_, text), prompt in texts.items()]
    judgments: list[Judgment] = []
    for judged in client.judge_many(items, **options):
        judgments.append(judged.judgment)
        progress({"phase": "judge", "done": len(judgments), "total": len(items)})
    scores = {key: judgment.score for key, judgment in zip(texts, judgments, strict=True)}
    return [
        Decided(0.5) if duel.a == duel.b else _higher(scores[duel.group, duel.a], scores[duel.group, duel.b])
        for duel in duels
    ]


def _higher(a: float | None, b: float | None) -> Decided:
    if a is None or b is None:
        return Decided(_PREFERENCE["unscored"], scores=(a, b))
    return Decided(((a > b) - (a < b) + 1) / 2, scores=(a, b))


def shares(preferences: Sequence[float], groups: Sequence[int]) -> dict[str, Ratio]:
    """`win_rate` (a tie is half a win) and the shares `win`, `tie`, `lose` of the decided duels; `unscored` of all."""
    rows: list[list[float]] = [[] for _ in range(max(groups, default=-1) + 1)]
    for preference, group in zip(preferences, groups, strict=True):
        rows[group].append(preference)
    decided = [[value for value in row if value == value] for row in rows]
    sizes = [len(row) for row in decided]
    return {
        "win_rate": ratio([sum(row) for row in decided], sizes),
        "win": ratio([sum(value > 0.5 for value in row) for row in decided], sizes),
        "tie": ratio([row.count(0.5) for row in decided], sizes),
        "lose": ratio([sum(value < 0.5 for value in row) for row in decided], sizes),
        "unscored": ratio([len(row) - size for row, size in zip(rows, sizes, strict=True)], [len(row) for row in rows]),
    }
