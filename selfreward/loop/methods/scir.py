"""Self-consistent internal rewards, SCIR (2502.08922): two judges inside one model.

The generative judge reads two answers and says which is better. The implicit reward compares their probabilities under
the model and a reference. A pair on which both agree is trusted. Two choices are ours, since our summary of the paper
does not state them: the reference is M0, as in CREAM, and the distinct answers to a prompt are paired in the order in
which they were sampled, so that neither judge influences what it is asked.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean
from typing import Any, Literal

from pydantic import Field

from selfreward.contracts.base import Contract
from selfreward.contracts.judging import Judgment
from selfreward.contracts.rollouts import Match, PreferencePair, ResponseLogprobs, Rollout
from selfreward.contracts.training import Consistency
from selfreward.loop import paths
from selfreward.loop.methods import implicit
from selfreward.loop.methods.base import Inputs, Method, logprobs_of
from selfreward.loop.methods.checks import Violation, check_judge
from selfreward.loop.methods.implicit import Place, ScoredAnswer, rows_by_place, scored_answers
from selfreward.loop.methods.plan import RubricUse, check_no_pair_rules, check_sigmoid, table
from selfreward.loop.pairing import OUTCOMES, judged_pair, neighbours
from selfreward.loop.stages import Scorers, scorers
from selfreward.loop.tasks import Compare, PromptItem, Task
from selfreward.recipe.recipe import Recipe


class ScirRules(Contract):
    """The recipe's `[scir]`: the generative judge and the implicit reward of one model judge the same pairs.

    `mode`: `filter` trains plain DPO on the pairs on which both agree. `consistency` trains on all pairs, with the term
    of `consistency` between both judges, and prefers only where both agree at that moment.

    `judge`: `pairwise` compares by the rubric `rubric` in both orders, with `votes` in each. `pointwise` takes the
    votes of the recipe's `judging` on each answer: the share of vote pairs that are higher for one answer, ties
    counting half.
    """

    mode: Literal["filter", "consistency"] = "filter"
    judge: Literal["pairwise", "pointwise"] = "pairwise"
    rubric: str = "pairwise"
    votes: int = Field(default=1, ge=1, le=64)
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.9, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1, le=8192)
    consistency: Consistency = Consistency()


@dataclass(frozen=True)
class Opinion:
    """A pair of answers, the judge's probability that `a` is better, and whether the implicit reward prefers `a`."""

    a: ScoredAnswer
    b: ScoredAnswer
    judged: float
    implicit: bool

    @property
    def better(self) -> ScoredAnswer:
        """The answer that the judge prefers."""
        return self.a if self.judged > 0.5 else self.b

    @property
    def worse(self) -> ScoredAnswer:
        """The other answer."""
        return self.b if self.judged > 0.5 else self.a

    @property
    def agreed(self) -> bool:
        """Whether both prefer the same answer."""
        return (self.judged > 0.5) == self.implicit


class Scir(Method):
    """Trains on the pairs on which the generative judge and the implicit reward agree."""

    name = "scir"
    tables = {"scir": ScirRules}

    def check_pairs(self, recipe: Recipe) -> None:
        """The method has its own rule for pairs."""
        message = f"method={self.name!r} chooses pairs by its own rule: of `pairs` give judge_pairs and "
        message += "chosen_truncated alone"
        check_no_pair_rules(recipe, message, "judge_pairs", "chosen_truncated")

    def check_training(self, recipe: Recipe) -> None:
        """The judge is the policy. Soft labels need the sigmoid loss and the judge's probability of every pair."""
        super().check_training(recipe)
        soft = table(recipe, ScirRules).mode == "consistency"
        if soft:
            check_sigmoid(recipe)
        if recipe.judging.annotator == "engine":
            raise ValueError(
                "method='scir' asks the policy itself, whose probabilities it compares with: leave out "
                "judging.annotator='engine'"
            )
        if soft and recipe.pairs.judge_pairs:
            raise ValueError(
                f"pairs.judge_pairs={recipe.pairs.judge_pairs}: nobody compared these, and scir.mode='consistency' "
                "needs the judge's probability of every pair: leave it out, or set scir.mode='filter'"
            )

    def rubrics(self, recipe: Recipe) -> list[RubricUse]:
        """Also one of kind `pairwise`, with `judge = "pairwise"`."""
        rubric = table(recipe, ScirRules).rubric
        pairwise = [RubricUse("scir.rubric", rubric, "pairwise")] if self.compares(recipe) else []
        return [*super().rubrics(recipe), *pairwise]

    def judges(self, recipe: Recipe) -> bool:
        """With `judge = "pointwise"`."""
        return table(recipe, ScirRules).judge == "pointwise"

    def compares(self, recipe: Recipe) -> bool:
        """With `judge = "pairwise"`."""
        return table(recipe, ScirRules).judge == "pairwise"

    def scores(self, recipe: Recipe) -> bool:
        """Answers are scored by the models' probabilities."""
        return True

    def rollout_task(self, run: str, recipe: Recipe, stage: str, item: PromptItem, policy: str) -> Task:
        """Answers are compared two by two, or judged one by one."""
        task = super().rollout_task(run, recipe, stage, item, policy)
        if not self.compares(recipe):
            return task
        judging = table(recipe, ScirRules).model_dump(include={"rubric", "votes", "temperature", "top_p", "max_tokens"})
        return task.model_copy(update={"compare": Compare(of="neighbours", **judging)})

    def pairs(
        self, recipe: Recipe, rollouts: Sequence[Rollout], inputs: Inputs
    ) -> tuple[list[PreferencePair], dict[str, int]]:
        """The pairs on which both judges agree, or all pairs with the judge's probability."""
        if not rollouts:
            return [], {}
        by = scorers(rollouts[0].run, rollouts[0].stage)
        return build_pairs(
            rollouts, rows_by_place(logprobs_of(inputs)), by, table(recipe, ScirRules), recipe.pairs.chosen_truncated
        )

    def monitors(self, recipe: Recipe, rollouts: Sequence[Rollout], inputs: Inputs) -> dict[str, float | None]:
        """How far two models agree, and how far the two judges agree."""
        if not rollouts:
            return {}
        by = scorers(rollouts[0].run, rollouts[0].stage)
        rows = rows_by_place(logprobs_of(inputs))
        return implicit.monitors(rollouts, rows, by) | monitors(rollouts, rows, by, table(recipe, ScirRules))

    def round_training(self, run: str, recipe: Recipe, stage: str, judge: str) -> dict[str, Any]:
        """DPO, with the consistency term for `mode = "consistency"`."""
        rules = table(recipe, ScirRules)
        term = {"consistency": rules.consistency} if rules.mode == "consistency" else {}
        return super().round_training(run, recipe, stage, judge) | term

    def judging_per_prompt(self, recipe: Recipe, stage: str) -> tuple[int, int]:
        """Both answers of each pair in both orders, with `judge = "pairwise"`."""
        if not self.compares(recipe):
            return super().judging_per_prompt(recipe, stage)
        rules, comparisons = table(recipe, ScirRules), recipe.sampling.n // 2 * 2
        return comparisons, comparisons * rules.votes * rules.max_tokens

    def pairs_per_prompt(self, recipe: Recipe) -> float:
        """Each answer is in one pair."""
        return recipe.sampling.n // 2

    def violations(
        self, run: str, recipe: Recipe, stage: str, rollouts: Sequence[Rollout], version: str | None, inputs: Inputs
    ) -> Iterator[Violation]:
        """Checks that the policy compared every pair in both orders, with the recipe's votes in each."""
        yield from super().violations(run, recipe, stage, rollouts, version, inputs)
        if not self.compares(recipe):
            return
        name, votes = paths.rollouts(run, stage), table(recipe, ScirRules).votes
        yield from check_judge(name, rollouts, version)
        short = []
        for rollout in rollouts:
            orders = [order for a, b in neighbours(rollout.responses) for order in ((a, b), (b, a))]
            if Counter((match.first, match.second) for match in rollout.matches) != dict.fromkeys(orders, votes):
                short.append(rollout.prompt_id)
        if short:
            yield Violation("accounting", name, f"not {votes} votes on every pair in each order: {short[:3]}")


def pairwise_probability(matches: Iterable[Match], a: int, b: int) -> float | None:
    """The judge's probability (0 to 1) that answer `a` beats `b`; None where an order has no verdict.

    Both orders have the same weight. The mean of the judge's probabilities if every valid verdict has one, else the
    share of verdicts, with a tie as half.
    """
    valid = [match for match in matches if {match.first, match.second} == {a, b} and match.status == "ok"]
    soft = all(match.p_first is not None for match in valid)
    by_order = []
    for first in (a, b):
        matches_of_order = [match for match in valid if match.first == first]
        if not matches_of_order:
            return None
        share = fmean(
            match.p_first if soft and match.p_first is not None else (match.outcome + 1) / 2
            for match in matches_of_order
        )
        by_order.append(share if first == a else 1 - share)
    return fmean(by_order)


def pointwise_probability(a: Judgment, b: Judgment) -> float | None:
    """The probability from the votes on each answer: the share of vote pairs with a higher vote on `a`, ties half."""
    ours, theirs = ([vote.score for vote in one.votes if vote.score is not None] for one in (a, b))
    if not ours or not theirs:
        return None
    return fmean(1.0 if mine > other else 0.5 if mine == other else 0.0 for mine, other in product(ours, theirs))


def opinions(
    rollout: Rollout, rows: Mapping[Place, ResponseLogprobs], scorers: Scorers, rules: ScirRules
) -> tuple[list[Opinion], int]:
    """What both judges say of each pair, without the pairs that one judge scores equally, and how many pairs both
    judged."""
    answer_at = {answer.index: answer for answer in scored_answers(rollout, rows, scorers)}
    decided, judged_pairs = [], 0
    for place_a, place_b in neighbours(rollout.responses):
        a, b = answer_at.get(place_a), answer_at.get(place_b)
        if rules.judge == "pairwise":
            judged = pairwise_probability(rollout.matches, place_a, place_b)
        else:
            judged = pointwise_probability(rollout.judgments[place_a], rollout.judgments[place_b])
        if a is None or b is None or judged is None:
            continue
        judged_pairs += 1
        if judged != 0.5 and a.now != b.now:
            decided.append(Opinion(a, b, judged, a.now > b.now))
    return decided, judged_pairs


def build_pairs(
    rollouts: Iterable[Rollout],
    rows: Mapping[Place, ResponseLogprobs],
    scorers: Scorers,
    rules: ScirRules,
    chosen_truncated: bool = False,
) -> tuple[list[PreferencePair], dict[str, int]]:
    """The pairs of all rollouts, and how many rollouts ended in which way.

    `filter` keeps the pairs on which both agree, `consistency` all pairs, with the judge's probability as `weight`.
    `unscored`: no pair has a verdict and rewards. `tie`: one judge scores each pair equally. `filtered`: they disagree.
    `truncated`: every answer that they prefer ended at the token limit.
    """
    pairs: list[PreferencePair] = []
    counts = dict.fromkeys(OUTCOMES, 0)
    for rollout in rollouts:
        decided, judged_pairs = opinions(rollout, rows, scorers, rules)
        trusted = [opinion for opinion in decided if opinion.agreed or rules.mode == "consistency"]
        kept = [opinion for opinion in trusted if chosen_truncated or not opinion.better.truncated]
        without = "filtered" if decided else "tie" if judged_pairs else "unscored"
        counts["kept" if kept else "truncated" if trusted else without] += 1
        pairs += [_pair(rollout, opinion, rules) for opinion in kept]
    return pairs, counts


def monitors(
    rollouts: Sequence[Rollout], rows: Mapping[Place, ResponseLogprobs], scorers: Scorers, rules: ScirRules
) -> dict[str, float | None]:
    """`agreement`: the share of pairs on which both judges prefer the same answer (0 to 1), None without any.

    For a pairwise judge also `invalid_vote_rate`: the share of its verdicts that cannot be read.
    """
    agreed = [opinion.agreed for rollout in rollouts for opinion in opinions(rollout, rows, scorers, rules)[0]]
    figures = {"agreement": fmean(agreed) if agreed else None}
    if rules.judge == "pairwise":
        invalid = [match.status != "ok" for rollout in rollouts for match in rollout.matches]
        figures["invalid_vote_rate"] = fmean(invalid) if invalid else None
    return figures


def _pair(rollout: Rollout, opinion: Opinion, rules: ScirRules) -> PreferencePair:
    sure = max(opinion.judged, 1 - opinion.judged)
    weight = sure if rules.mode == "consistency" else None
    return judged_pair(rollout, (opinion.better.text, opinion.worse.text), (sure, 1 - sure), weight=weight)
