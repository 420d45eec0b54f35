"""Self-consistent internal rewards, SCIR (2502.08922): two judges inside one model.

The generative judge reads two answers and says which is better; the implicit reward compares their probabilities under
the model and a reference. Where both agree a pair is trusted. The reference is M0, as in CREAM, which is ours: the
summary of the paper at hand does not say which it is. So is how pairs are drawn: the distinct answers to a prompt are
paired in the order in which they were sampled, so that neither judge has a say in what it is asked.
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
from selfreward.contracts.rollouts import Match, PreferencePair, Response, ResponseLogprobs, Rollout
from selfreward.contracts.training import Consistency
from selfreward.loop import paths
from selfreward.loop.methods import implicit
from selfreward.loop.methods.base import Inputs, Method, logprobs_of
from selfreward.loop.methods.checks import Violation, check_judge
from selfreward.loop.methods.implicit import Place, ScoredAnswer, answers, by_place
from selfreward.loop.methods.plan import RubricUse, check_no_pair_rules, check_sigmoid, table
from selfreward.loop.pairing import OUTCOMES, distinct_places, judged_pair
from selfreward.loop.stages import Scorers, scorers
from selfreward.loop.tasks import Compare, PromptItem, Task
from selfreward.recipe.recipe import Recipe


class ScirRules(Contract):
    """The recipe's `[scir]`: the generative judge and the implicit reward of one model look at the same pairs.

    `mode`: `filter` trains plain DPO on the pairs about which both agree; `consistency` trains on all of them, with the
    term of `consistency` between both, and prefers only where both agree at that moment.

    `judge`: `pairwise`, the rubric `rubric` in both orders with `votes` for each, or `pointwise`, the votes of the
    recipe's `judging` on each answer: the share of vote pairs in which the one's is above the other's, equal ones half.
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
    """A pair of answers, the judge's probability that `a` is better, and the implicit reward's: yes or no."""

    a: ScoredAnswer
    b: ScoredAnswer
    judged: float
    implicit: bool

    @property
    def agreed(self) -> bool:
        """Whether both prefer the same answer."""
        return (self.judged > 0.5) == self.implicit


class Scir(Method):
    """Pairs that the generative judge and the implicit reward agree on."""

    name = "scir"
    tables = {"scir": ScirRules}

    def check_pairs(self, recipe: Recipe) -> None:
        """Pairs are chosen by a rule of the method's own."""
        message = f"method={self.name!r} chooses pairs by its own rule: of `pairs` give judge_pairs alone"
        check_no_pair_rules(recipe, message, judge_pairs=True)

    def check_training(self, recipe: Recipe) -> None:
        """The judge is the policy; soft labels are for the sigmoid loss, and need the judge's probability."""
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
        """One of kind `pairwise` where the judge compares."""
        rubric = table(recipe, ScirRules).rubric
        compared = [RubricUse("scir.rubric", rubric, "pairwise")] if self.compared(recipe) else []
        return [*super().rubrics(recipe), *compared]

    def judged(self, recipe: Recipe) -> bool:
        """Where the judge is the one that gives points."""
        return table(recipe, ScirRules).judge == "pointwise"

    def compared(self, recipe: Recipe) -> bool:
        """Where the judge looks at two answers."""
        return table(recipe, ScirRules).judge == "pairwise"

    def scored(self, recipe: Recipe) -> bool:
        """By the models' own probabilities."""
        return True

    def rollout_task(self, run: str, recipe: Recipe, stage: str, item: PromptItem, policy: str) -> Task:
        """The answers are compared two by two, or judged one by one."""
        task = super().rollout_task(run, recipe, stage, item, policy)
        if not self.compared(recipe):
            return task
        how = table(recipe, ScirRules).model_dump(include={"rubric", "votes", "temperature", "top_p", "max_tokens"})
        return task.model_copy(update={"compare": Compare(of="neighbours", **how)})

    def pairs(
        self, recipe: Recipe, rollouts: Sequence[Rollout], inputs: Inputs
    ) -> tuple[list[PreferencePair], dict[str, int]]:
        """The pairs on which both judges agree, or all with the judge's probability."""
        if not rollouts:
            return [], {}
        by = scorers(rollouts[0].run, rollouts[0].stage)
        return build_pairs(rollouts, by_place(logprobs_of(inputs)), by, table(recipe, ScirRules))

    def monitors(self, recipe: Recipe, rollouts: Sequence[Rollout], inputs: Inputs) -> dict[str, float | None]:
        """How far two models agree, and how far the two judges."""
        if not rollouts:
            return {}
        by = scorers(rollouts[0].run, rollouts[0].stage)
        rows = by_place(logprobs_of(inputs))
        return implicit.monitors(rollouts, rows, by) | monitors(rollouts, rows, by, table(recipe, ScirRules))

    def round_training(self, run: str, recipe: Recipe, stage: str, judge: str) -> dict[str, Any]:
        """DPO, with the consistency term where the recipe asks for it."""
        rules = table(recipe, ScirRules)
        term = {"consistency": rules.consistency} if rules.mode == "consistency" else {}
        return super().round_training(run, recipe, stage, judge) | term

    def judged_of_a_prompt(self, recipe: Recipe, stage: str) -> tuple[int, int]:
        """Both answers of each pair in both orders, where the judge compares."""
        if not self.compared(recipe):
            return super().judged_of_a_prompt(recipe, stage)
        rules, shown = table(recipe, ScirRules), recipe.sampling.n // 2 * 2
        return shown, shown * rules.votes * rules.max_tokens

    def pairs_of_a_prompt(self, recipe: Recipe) -> float:
        """Answers are paired once."""
        return recipe.sampling.n // 2

    def violations(
        self, run: str, recipe: Recipe, stage: str, rollouts: Sequence[Rollout], version: str | None, inputs: Inputs
    ) -> Iterator[Violation]:
        """Every offered pair was compared in both orders, with as many votes in each, by the policy itself."""
        yield from super().violations(run, recipe, stage, rollouts, version, inputs)
        if not self.compared(recipe):
            return
        name, votes = paths.rollouts(run, stage), table(recipe, ScirRules).votes
        yield from check_judge(name, rollouts, version)
        short = []
        for rollout in rollouts:
            orders = [order for a, b in offered(rollout.responses) for order in ((a, b), (b, a))]
            if Counter((match.first, match.second) for match in rollout.matches) != dict.fromkeys(orders, votes):
                short.append(rollout.prompt_id)
        if short:
            yield Violation("accounting", name, f"not {votes} votes on every pair in each order: {short[:3]}")


def offered(responses: Sequence[Response]) -> list[tuple[int, int]]:
    """Places of the answers to compare: distinct and not blank, two by two in their order; an odd last one is left."""
    places = distinct_places(responses)
    return list(zip(places[::2], places[1::2], strict=False))


def pairwise_probability(matches: Iterable[Match], a: int, b: int) -> float | None:
    """The judge's probability (0 to 1) that answer `a` beats `b`; None where an order has no verdict.

    Both orders weigh the same. From the judge's own probabilities where every valid verdict has one, else the share of
    verdicts, a tie being half.
    """
    valid = [match for match in matches if {match.first, match.second} == {a, b} and match.status == "ok"]
    soft = all(match.p_first is not None for match in valid)
    each = []
    for first in (a, b):
        shown = [match for match in valid if match.first == first]
        if not shown:
            return None
        share = fmean(
            match.p_first if soft and match.p_first is not None else (match.outcome + 1) / 2 for match in shown
        )
        each.append(share if first == a else 1 - share)
    return fmean(each)


def pointwise_probability(a: Judgment, b: Judgment) -> float | None:
    """The same from the votes on each answer: the share of vote pairs in which a's is above b's, equal ones half."""
    ours, theirs = ([vote.score for vote in one.votes if vote.score is not None] for one in (a, b))
    if not ours or not theirs:
        return None
    return fmean(1.0 if mine > other else 0.5 if mine == other else 0.0 for mine, other in product(ours, theirs))


def opinions(
    rollout: Rollout, rows: Mapping[Place, ResponseLogprobs], scorers: Scorers, rules: ScirRules
) -> tuple[list[Opinion], int]:
    """What both say of each offered pair, and how many pairs both have looked at; those that one finds even are no
    opinions."""
    known = {answer.index: answer for answer in answers(rollout, rows, scorers)}
    found, seen = [], 0
    for place_a, place_b in offered(rollout.responses):
        a, b = known.get(place_a), known.get(place_b)
        if rules.judge == "pairwise":
            judged = pairwise_probability(rollout.matches, place_a, place_b)
        else:
            judged = pointwise_probability(rollout.judgments[place_a], rollout.judgments[place_b])
        if a is None or b is None or judged is None:
            continue
        seen += 1
        if judged != 0.5 and a.now != b.now:
            found.append(Opinion(a, b, judged, a.now > b.now))
    return found, seen


def build_pairs(
    rollouts: Iterable[Rollout], rows: Mapping[Place, ResponseLogprobs], scorers: Scorers, rules: ScirRules
) -> tuple[list[PreferencePair], dict[str, int]]:
    """The pairs of all rollouts, and how many rollouts ended in which way.

    With `filter` the pairs on which both agree, with `consistency` all, each with the judge's probability as `weight`.
    `unscored`: no pair has a verdict and rewards, `tie`: one of both finds each pair even, `filtered`: they disagree.
    """
    pairs: list[PreferencePair] = []
    counts = dict.fromkeys(OUTCOMES, 0)
    for rollout in rollouts:
        found, seen = opinions(rollout, rows, scorers, rules)
        kept = [opinion for opinion in found if opinion.agreed or rules.mode == "consistency"]
        counts["kept" if kept else "filtered" if found else "tie" if seen else "unscored"] += 1
        pairs += [_pair(rollout, opinion, rules) for opinion in kept]
    return pairs, counts


def monitors(
    rollouts: Sequence[Rollout], rows: Mapping[Place, ResponseLogprobs], scorers: Scorers, rules: ScirRules
) -> dict[str, float | None]:
    """`agreement`: the share of pairs on which both judges prefer the same answer (0 to 1), None without any.

    Of a judge that compares, `invalid_vote_rate` too: the share of its verdicts that cannot be read.
    """
    agreed = [opinion.agreed for rollout in rollouts for opinion in opinions(rollout, rows, scorers, rules)[0]]
    found = {"agreement": fmean(agreed) if agreed else None}
    if rules.judge == "pairwise":
        invalid = [match.status != "ok" for rollout in rollouts for match in rollout.matches]
        found["invalid_vote_rate"] = fmean(invalid) if invalid else None
    return found


def _pair(rollout: Rollout, opinion: Opinion, rules: ScirRules) -> PreferencePair:
    better, worse = (opinion.a, opinion.b) if opinion.judged > 0.5 else (opinion.b, opinion.a)
    sure = max(opinion.judged, 1 - opinion.judged)
    weight = sure if rules.mode == "consistency" else None
    return judged_pair(rollout, (better.text, worse.text), (sure, 1 - sure), weight=weight)
