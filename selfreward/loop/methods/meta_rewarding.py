"""Meta-Rewarding (Wu et al. 2024, 2407.19594, section 2.1): the model judges its own judgments.

For each prompt, the meta-judge takes the answer whose votes differ most and compares every two of its distinct
judgments in both orders. The judge trains on the judgment with the highest rating over the one with the lowest. Actor
pairs are those of `self_rewarding`, with length control.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import permutations
from math import exp
from statistics import fmean, pvariance
from typing import Any, Literal

from pydantic import Field

from selfreward.contracts.base import Contract, content_key
from selfreward.contracts.rollouts import Match, Rollout
from selfreward.loop import paths
from selfreward.loop.methods.base import Inputs, Method
from selfreward.loop.methods.checks import Violation, check_accounting, check_answers
from selfreward.loop.methods.plan import RubricUse, table
from selfreward.loop.pairing import JudgePreference, distinct_votes
from selfreward.loop.stages import round_index
from selfreward.loop.tasks import Compare, PromptItem, Task, make_task
from selfreward.recipe.recipe import Recipe


class MetaRules(Contract):
    """The recipe's `[meta]`: how judge pairs are made (Wu et al. 2024, 2407.19594, section 2.1).

    `rubric` (of kind `meta`) and the sampling keys are for the meta-judge. `judge_iterations`: how many rounds, from
    the first, train the judge too; the paper stops after 2 of 4, since the judge's scores saturate. `positions`:
    whether the weights against position bias come from all verdicts of the round or from those of each prompt (the
    paper does not say). `ridge` keeps the ratings finite where one judgment wins everything. `max_chosen_length`: pairs
    whose chosen judgment has more characters are dropped, since meta-judges prefer long judgments (the paper's figure
    is not known). `share`: the most judge pairs, as a share of the round's actor pairs.
    """

    rubric: str = "meta"
    temperature: float = Field(default=0.8, ge=0, le=2)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1, le=8192)
    judge_iterations: int = Field(default=2, ge=0)
    positions: Literal["round", "prompt"] = "round"
    ridge: float = Field(default=0.1, gt=0)
    max_chosen_length: int | None = Field(default=None, ge=1)
    share: float = Field(default=1.0, gt=0, le=4)


_EQUAL = 1e-6
"""Ratings this close count as equal: the difference is the optimiser's error."""
_NEWTON_STEPS = 200


class MetaRewarding(Method):
    """Self-rewarding with length control, where the judge also trains on its judgments of its own judgments."""

    name = "meta_rewarding"
    tables = {"meta": MetaRules}

    def check_training(self, recipe: Recipe) -> None:
        """There must be two judgments to compare, and they must be the policy's own."""
        super().check_training(recipe)
        if recipe.judging.votes < 2:
            raise ValueError(f"judging.votes={recipe.judging.votes} leaves no two judgments to compare: give 2 or more")
        if recipe.judging.annotator == "engine":
            raise ValueError(
                "method='meta_rewarding' trains the judge: leave out judging.annotator, which names another judge"
            )

    def rubrics(self, recipe: Recipe) -> list[RubricUse]:
        """One of kind `meta` for the meta-judge."""
        return [*super().rubrics(recipe), RubricUse("meta.rubric", table(recipe, MetaRules).rubric, "meta")]

    def judges_judgments(self, recipe: Recipe, stage: str) -> bool:
        """Whether the meta-judge judges a stage's judgments, to train the judge too."""
        rounds = table(recipe, MetaRules).judge_iterations
        return self.kind(recipe, stage) == "round" and round_index(stage) < rounds

    def data_phases(self, recipe: Recipe, stage: str) -> tuple[str, ...]:
        """The judgments are compared before pairs are built."""
        phases = super().data_phases(recipe, stage)
        place = phases.index("pairs")
        return (*phases[:place], "meta", *phases[place:]) if self.judges_judgments(recipe, stage) else phases

    def inputs(self, run: str, recipe: Recipe, stage: str, phase: str) -> dict[str, str]:
        """The phase `meta` needs the round's rollouts; pairs need the comparisons."""
        if phase == "meta":
            return {"rollouts": paths.rollouts(run, stage)}
        more = {}
        if phase in ("pairs", "audit") and self.judges_judgments(recipe, stage):
            more = {"meta": paths.meta(run, stage), "meta failures": paths.failures(run, stage, "meta")}
        return super().inputs(run, recipe, stage, phase) | more

    def tasks(self, run: str, recipe: Recipe, stage: str, phase: str, policy: str, inputs: Inputs) -> list[Task]:
        """In the phase `meta` the model compares its judgments of one answer of each rollout."""
        if phase != "meta":
            return super().tasks(run, recipe, stage, phase, policy, inputs)
        return meta_tasks(run, recipe, stage, [Rollout.model_validate(row) for row in inputs["rollouts"]], policy)

    def results(
        self, run: str, stage: str, phase: str, rollouts: Sequence[Rollout]
    ) -> tuple[str, list[dict[str, Any]]]:
        """Comparisons of judgments have an artifact of their own."""
        artifact, rows = super().results(run, stage, phase, rollouts)
        return paths.meta(run, stage) if phase == "meta" else artifact, rows

    def figures(self, phase: str, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """What the meta-verdicts show of the meta-judge."""
        measured = figures(rollouts) if phase == "meta" else {}
        return {name: value for name, value in measured.items() if value is not None}

    def comparisons(self, run: str, recipe: Recipe, stage: str) -> str:
        """The comparisons of judgments, where there are any."""
        return (
            paths.meta(run, stage) if self.judges_judgments(recipe, stage) else super().comparisons(run, recipe, stage)
        )

    def judge_preferences(
        self, recipe: Recipe, stage: str, actor_pairs: int, inputs: Inputs
    ) -> tuple[list[JudgePreference], dict[str, Any] | None]:
        """The judgment with the highest rating over the one with the lowest, for each meta-judged answer."""
        if not self.judges_judgments(recipe, stage):
            return [], None
        rollouts = [Rollout.model_validate(row) for row in inputs["meta"]]
        preferred, counts = preferences(rollouts, table(recipe, MetaRules), actor_pairs, recipe.seed)
        return preferred, {"prompts": len(rollouts), **counts, **figures(rollouts)}

    def judging_per_prompt(self, recipe: Recipe, stage: str) -> tuple[int, int]:
        """Also every two votes on one answer in both orders, where judgments are compared."""
        texts, tokens = super().judging_per_prompt(recipe, stage)
        if not self.judges_judgments(recipe, stage):
            return texts, tokens
        comparisons = recipe.judging.votes * (recipe.judging.votes - 1)
        return texts + comparisons, tokens + comparisons * table(recipe, MetaRules).max_tokens

    def rows_per_prompt(self, recipe: Recipe, stage: str) -> float:
        """Also the meta-judge's pairs."""
        share = table(recipe, MetaRules).share if self.judges_judgments(recipe, stage) else 0
        return self.pairs_per_prompt(recipe) * (1 + recipe.pairs.judge_pairs + share)

    def violations(
        self, run: str, recipe: Recipe, stage: str, rollouts: Sequence[Rollout], version: str | None, inputs: Inputs
    ) -> Iterator[Violation]:
        """Checks that the model which wrote the judgments compared the round's own, each in every order once."""
        yield from super().violations(run, recipe, stage, rollouts, version, inputs)
        if not self.judges_judgments(recipe, stage):
            return
        # Each task has one result or has failed.
        tasks, name = meta_tasks(run, recipe, stage, rollouts, version or ""), paths.meta(run, stage)
        compared = [Rollout.model_validate(row) for row in inputs["meta"]]
        failed = [row["prompt_id"] for row in inputs["meta failures"]]
        yield from check_accounting(
            name, [task.prompt_id for task in tasks], [rollout.prompt_id for rollout in compared], failed
        )
        yield from check_answers(name, compared, version, 1)
        # The compared judgments are the round's.
        expected = {task.prompt_id: (task.responses, task.judgments) for task in tasks}
        wrong = [row.prompt_id for row in compared if expected.get(row.prompt_id) != (row.responses, row.judgments)]
        if wrong:
            yield Violation("accounting", name, f"not the round's own judgments: {wrong[:3]}")
        # Every two of them were compared once in each order.
        compared_orders = {
            row.prompt_id: Counter((match.first, match.second) for match in row.matches) for row in compared
        }
        expected_orders = {
            row.prompt_id: Counter(permutations(distinct_votes(row.judgments[0].votes), 2)) for row in compared
        }
        short = [prompt for prompt, orders in compared_orders.items() if orders != expected_orders[prompt]]
        if short:
            yield Violation("accounting", name, f"not every two judgments once in each order: {short[:3]}")


def most_disputed_answer(rollout: Rollout, seed: int) -> int | None:
    """Place of the answer whose valid scores have the highest variance, among answers with two or more distinct
    judgments.

    Equal variances are drawn from at random. None without such an answer.
    """
    variances = {
        place: pvariance([vote.score for vote in judgment.votes if vote.score is not None])
        for place, judgment in enumerate(rollout.judgments)
        if len(distinct_votes(judgment.votes)) > 1 and rollout.responses[place].text.strip()
    }
    if not variances:
        return None
    highest = max(variances.values())
    rng = random.Random(content_key(seed, rollout.prompt_id, "widest"))  # noqa: S311 - guards no secret
    return rng.choice([place for place, variance in variances.items() if variance == highest])


def position_weights(matches: Iterable[Match]) -> tuple[float, float]:
    """Weights of a win by the judgment shown first and by the one shown second. The rarer win weighs more; the sum is
    1."""
    outcomes = Counter(match.outcome for match in matches)
    decided = outcomes[1] + outcomes[-1]
    return (outcomes[-1] / decided, outcomes[1] / decided) if decided else (0.5, 0.5)


def battles(matches: Iterable[Match], places: Sequence[int], weights: tuple[float, float]) -> list[list[float]]:
    """B of shape (n, n) for the n votes at `places`: B[m, k] is the sum of the weights of m's wins against k."""
    row = {place: number for number, place in enumerate(places)}
    wins = [[0.0] * len(places) for _ in places]
    for match in matches:
        if match.outcome == 1:
            wins[row[match.first]][row[match.second]] += weights[0]
        elif match.outcome == -1:
            wins[row[match.second]][row[match.first]] += weights[1]
    return wins


def elo(wins: Sequence[Sequence[float]], ridge: float) -> list[float]:
    """Ratings e of shape (n,) with mean 0: argmax of sum B[m, k] log sigma(e_m - e_k) - ridge sum e^2.

    In natural-log units, rounded to six digits. The ridge is ours: without it the likelihood has no maximum where one
    judgment wins everything. The optimiser is Newton's method with long steps shortened. It converges from any start,
    since the loss is convex and its curvature changes slowly.
    """
    ratings = [0.0] * len(wins)
    for _ in range(_NEWTON_STEPS):
        # Gradient and Hessian of the loss: the ridge, then each pair of judgments.
        gradient = [2 * ridge * rating for rating in ratings]
        hessian = [[2 * ridge * (m == k) for k in range(len(wins))] for m in range(len(wins))]
        for m, k in permutations(range(len(wins)), 2):
            # The derivative of -log sigma(gap) is sigma(gap) - 1, for the winner; the loser's is its negative.
            surprise = 1 / (1 + exp(ratings[m] - ratings[k]))
            pull, curve = wins[m][k] * surprise, wins[m][k] * surprise * (1 - surprise)
            gradient[m] -= pull
            gradient[k] += pull
            hessian[m][m] += curve
            hessian[k][k] += curve
            hessian[m][k] -= curve
            hessian[k][m] -= curve
        # A damped Newton step, until the steps are negligible.
        step = _solve(hessian, gradient)
        longest = max(map(abs, step))
        ratings = [rating - part / (1 + 2 * longest) for rating, part in zip(ratings, step, strict=True)]
        if longest < _EQUAL**2:
            break
    mean = fmean(ratings)
    return [round(rating - mean, 6) for rating in ratings]


def preferences(
    rollouts: Sequence[Rollout], rules: MetaRules, actor_pairs: int, seed: int
) -> tuple[list[JudgePreference], dict[str, int]]:
    """Judge preferences of meta-judged rollouts (one answer each), and how many rollouts ended in which way.

    There are at most `rules.share` times `actor_pairs` preferences. `kept`: gave a preference. `equal`: the ratings are
    equal. `long`: the chosen judgment is too long. `surplus`: dropped at random, above the limit.
    """
    pooled = position_weights(match for rollout in rollouts for match in rollout.matches)
    preferred: list[JudgePreference] = []
    counts = {"kept": 0, "equal": 0, "long": 0, "surplus": 0}
    # The highest-rated judgment over the lowest-rated one, for each rollout.
    for rollout in rollouts:
        votes = rollout.judgments[0].votes
        places = distinct_votes(votes)
        weights = pooled if rules.positions == "round" else position_weights(rollout.matches)
        ratings = elo(battles(rollout.matches, places, weights), rules.ridge)
        best, worst = ratings.index(max(ratings)), ratings.index(min(ratings))
        chosen, rejected = votes[places[best]], votes[places[worst]]
        if ratings[best] - ratings[worst] < _EQUAL:
            counts["equal"] += 1
        elif rules.max_chosen_length is not None and len(chosen.text) > rules.max_chosen_length:
            counts["long"] += 1
        else:
            preferred.append(JudgePreference(rollout, chosen, rejected, ratings[best], ratings[worst]))
    # A random draw of at most the recipe's share, in the order of the rollouts.
    rng = random.Random(content_key(seed, "meta-judged pairs", [p.rollout.key for p in preferred]))  # noqa: S311 - no secret
    most = round(rules.share * actor_pairs)
    kept = [preferred[place] for place in sorted(rng.sample(range(len(preferred)), min(most, len(preferred))))]
    return kept, {**counts, "kept": len(kept), "surplus": len(preferred) - len(kept)}


def figures(rollouts: Sequence[Rollout]) -> dict[str, float | None]:
    """Shares (0 to 1) of a round's meta-verdicts that describe the meta-judge; None where there is nothing to measure.

    `no_verdict`: verdicts that could not be read. `prefers_higher_score`: among decided verdicts between judgments of
    unequal score, those for the higher score; near 1 the meta-judge adds nothing to the scores (63 % in the first and
    98 % in the second round of the paper). `first_wins`: among decided verdicts, those for the judgment shown first.
    `flips`: among pairs decided in both orders, those decided differently.
    """
    matches = [(rollout.judgments[0].votes, match) for rollout in rollouts for match in rollout.matches]
    # Verdicts with a winner, and whether that has the higher score.
    decided = [(votes, match) for votes, match in matches if match.outcome]
    higher = [
        (first > second) == (match.outcome == 1)
        for votes, match in decided
        if (first := votes[match.first].score) is not None
        and (second := votes[match.second].score) is not None
        and first != second
    ]
    # Pairs whose winner depends on the order.
    flips = []
    for rollout in rollouts:
        outcomes = {(match.first, match.second): match.outcome for match in rollout.matches if match.outcome}
        flips += [outcomes[a, b] == outcomes[b, a] for a, b in outcomes if a < b and (b, a) in outcomes]
    return {
        "no_verdict": _share([match.status != "ok" for _, match in matches]),
        "prefers_higher_score": _share(higher),
        "first_wins": _share([match.outcome == 1 for _, match in decided]),
        "flips": _share(flips),
    }


def meta_tasks(run: str, recipe: Recipe, stage: str, rollouts: Sequence[Rollout], policy: str) -> list[Task]:
    """The tasks by which a model compares its judgments of one answer of each rollout."""
    sampling = table(recipe, MetaRules).model_dump(include={"rubric", "temperature", "top_p", "max_tokens"})
    compare = Compare(of="judgments", **sampling)
    tasks = []
    for rollout in rollouts:
        place = most_disputed_answer(rollout, recipe.seed)
        if place is not None:
            answer = rollout.responses[place]
            item = PromptItem(prompt_id=rollout.prompt_id, prompt=rollout.prompt, responses=[answer])
            task = make_task(run, recipe, stage, "meta", item, policy)
            tasks.append(task.model_copy(update={"judgments": [rollout.judgments[place]], "compare": compare}))
    return tasks


def _solve(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """x with `matrix` x = `right`, by elimination without pivoting: the diagonal outweighs its row."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for place, pivot in enumerate(rows):
        for row in rows[:place] + rows[place + 1 :]:
            share = row[place] / pivot[place]
            row[place:] = [a - share * b for a, b in zip(row[place:], pivot[place:], strict=True)]
    return [row[-1] / row[place] for place, row in enumerate(rows)]


def _share(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None
