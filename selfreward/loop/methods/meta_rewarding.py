"""Meta-Rewarding (Wu et al. 2024, 2407.19594, section 2.1): the model judges its own judgments.

For each prompt the answer whose votes differ most is taken, every two of its distinct judgments are compared in both
orders, and the judgment that rates highest is preferred over the one that rates lowest. Actor pairs are those of
`self_rewarding`, with length control.
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
from selfreward.contracts.judging import Vote
from selfreward.contracts.rollouts import Match, Rollout
from selfreward.loop import paths
from selfreward.loop.methods.base import Inputs, Method
from selfreward.loop.methods.checks import Violation, check_accounted, check_answers
from selfreward.loop.methods.plan import RubricUse, table
from selfreward.loop.pairing import JudgePreference
from selfreward.loop.stages import round_index
from selfreward.loop.tasks import Compare, PromptItem, Task, make_task
from selfreward.recipe.recipe import Recipe


class MetaRules(Contract):
    """The recipe's `[meta]`: how judge pairs are made (Wu et al. 2024, 2407.19594, section 2.1).

    `rubric` (of kind `meta`) and the sampling are of the meta-judge. `judge_iterations`: the first rounds, that many,
    train the judge too; the paper stops after 2 of 4, since the judge's scores saturate. `positions`: whether the
    weights against position bias are of all verdicts of the round or of each prompt's own (the paper does not say).
    `ridge` keeps the ratings finite where one judgment wins everything. `max_chosen_length`: a pair whose chosen
    judgment has more characters is dropped, since meta-judges like long ones (the paper's figure is not known).
    `share`: judge pairs at most, as a share of the round's actor pairs.
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
"""Ratings this close are equal: what is left between them is the optimiser's error."""
_NEWTON_STEPS = 200


class MetaRewarding(Method):
    """Self-rewarding with length control, whose judge is trained on its own judgments of its judgments."""

    name = "meta_rewarding"
    tables = {"meta": MetaRules}

    def check_training(self, recipe: Recipe) -> None:
        """There are judgments to compare, of the judge that is trained."""
        super().check_training(recipe)
        if recipe.judging.votes < 2:
            raise ValueError(f"judging.votes={recipe.judging.votes} leaves no two judgments to compare: give 2 or more")
        if recipe.judging.annotator == "engine":
            raise ValueError(
                "method='meta_rewarding' trains the judge: leave out judging.annotator, which is another one"
            )

    def rubrics(self, recipe: Recipe) -> list[RubricUse]:
        """One of kind `meta` for the meta-judge."""
        return [*super().rubrics(recipe), RubricUse("meta.rubric", table(recipe, MetaRules).rubric, "meta")]

    def meta_judged(self, recipe: Recipe, stage: str) -> bool:
        """Whether a stage's judgments are judged in their turn, to train the judge too."""
        rounds = table(recipe, MetaRules).judge_iterations
        return self.kind(recipe, stage) == "round" and round_index(stage) < rounds

    def data_phases(self, recipe: Recipe, stage: str) -> tuple[str, ...]:
        """Judgments are compared before pairs are made."""
        phases = super().data_phases(recipe, stage)
        place = phases.index("pairs")
        return (*phases[:place], "meta", *phases[place:]) if self.meta_judged(recipe, stage) else phases

    def inputs(self, run: str, recipe: Recipe, stage: str, phase: str) -> dict[str, str]:
        """The round's own judgments to compare; for pairs, the comparisons."""
        if phase == "meta":
            return {"rollouts": paths.rollouts(run, stage)}
        more = {}
        if phase in ("pairs", "audit") and self.meta_judged(recipe, stage):
            more = {"meta": paths.meta(run, stage), "meta failures": paths.failures(run, stage, "meta")}
        return super().inputs(run, recipe, stage, phase) | more

    def tasks(self, run: str, recipe: Recipe, stage: str, phase: str, policy: str, inputs: Inputs) -> list[Task]:
        """In the phase `meta` the judgments of one answer of each rollout, compared by the model that wrote them."""
        if phase != "meta":
            return super().tasks(run, recipe, stage, phase, policy, inputs)
        return meta_tasks(run, recipe, stage, [Rollout.model_validate(row) for row in inputs["rollouts"]], policy)

    def results(self, run: str, stage: str, phase: str, done: Sequence[Rollout]) -> tuple[str, list[dict[str, Any]]]:
        """Comparisons of judgments have an artifact of their own."""
        artifact, rows = super().results(run, stage, phase, done)
        return paths.meta(run, stage) if phase == "meta" else artifact, rows

    def figures(self, phase: str, done: Sequence[Rollout]) -> dict[str, float]:
        """What the meta-verdicts say of the meta-judge."""
        measured = figures(done) if phase == "meta" else {}
        return {name: value for name, value in measured.items() if value is not None}

    def comparisons(self, run: str, recipe: Recipe, stage: str) -> str:
        """Those of judgments, where there are any."""
        return paths.meta(run, stage) if self.meta_judged(recipe, stage) else super().comparisons(run, recipe, stage)

    def judge_preferences(
        self, recipe: Recipe, stage: str, actor_pairs: int, inputs: Inputs
    ) -> tuple[list[JudgePreference], dict[str, Any] | None]:
        """The judgment that rates highest over the one that rates lowest, of the meta-judged ones."""
        if not self.meta_judged(recipe, stage):
            return [], None
        rollouts = [Rollout.model_validate(row) for row in inputs["meta"]]
        preferred, counts = preferences(rollouts, table(recipe, MetaRules), actor_pairs, recipe.seed)
        return preferred, {"prompts": len(rollouts), **counts, **figures(rollouts)}

    def judged_of_a_prompt(self, recipe: Recipe, stage: str) -> tuple[int, int]:
        """Where judgments are compared, every two votes on an answer in both orders too."""
        texts, tokens = super().judged_of_a_prompt(recipe, stage)
        if not self.meta_judged(recipe, stage):
            return texts, tokens
        shown = recipe.judging.votes * (recipe.judging.votes - 1)
        return texts + shown, tokens + shown * table(recipe, MetaRules).max_tokens

    def rows_of_a_prompt(self, recipe: Recipe, stage: str) -> float:
        """The meta-judge's pairs too."""
        share = table(recipe, MetaRules).share if self.meta_judged(recipe, stage) else 0
        return self.pairs_of_a_prompt(recipe) * (1 + recipe.pairs.judge_pairs + share)

    def violations(
        self, run: str, recipe: Recipe, stage: str, rollouts: Sequence[Rollout], version: str | None, inputs: Inputs
    ) -> Iterator[Violation]:
        """The judgments that were compared are the round's own, each asked for once, by the model that wrote them."""
        yield from super().violations(run, recipe, stage, rollouts, version, inputs)
        if not self.meta_judged(recipe, stage):
            return
        asked, name = meta_tasks(run, recipe, stage, rollouts, version or ""), paths.meta(run, stage)
        compared = [Rollout.model_validate(row) for row in inputs["meta"]]
        failed = [row["prompt_id"] for row in inputs["meta failures"]]
        yield from check_accounted(
            name, [task.prompt_id for task in asked], [rollout.prompt_id for rollout in compared], failed
        )
        yield from check_answers(name, compared, version, 1)
        own = {task.prompt_id: (task.responses, task.judgments) for task in asked}
        strange = [row.prompt_id for row in compared if own.get(row.prompt_id) != (row.responses, row.judgments)]
        if strange:
            yield Violation("accounting", name, f"not the round's own judgments: {strange[:3]}")
        orders = {row.prompt_id: Counter((match.first, match.second) for match in row.matches) for row in compared}
        wanted = {row.prompt_id: Counter(permutations(distinct(row.judgments[0].votes), 2)) for row in compared}
        short = [prompt for prompt, shown in orders.items() if shown != wanted[prompt]]
        if short:
            yield Violation("accounting", name, f"not every two judgments once in each order: {short[:3]}")


def distinct(votes: Sequence[Vote]) -> list[int]:
    """Places of the valid votes, each text once."""
    places: dict[str, int] = {}
    for place, vote in enumerate(votes):
        if vote.status == "ok" and vote.text.strip():
            places.setdefault(vote.text, place)
    return list(places.values())


def widest(rollout: Rollout, seed: int) -> int | None:
    """The answer whose valid scores have the highest variance, of those with two or more distinct judgments; one of
    several is drawn at random, and None when there is none."""
    variances = {
        place: pvariance([vote.score for vote in judgment.votes if vote.score is not None])
        for place, judgment in enumerate(rollout.judgments)
        if len(distinct(judgment.votes)) > 1 and rollout.responses[place].text.strip()
    }
    if not variances:
        return None
    highest = max(variances.values())
    rng = random.Random(content_key(seed, rollout.prompt_id, "widest"))  # noqa: S311 - guards no secret
    return rng.choice([place for place, variance in variances.items() if variance == highest])


def position_weights(matches: Iterable[Match]) -> tuple[float, float]:
    """Weights of a win by the one shown first and by the one shown second: the rarer counts more. They add up to 1."""
    outcomes = Counter(match.outcome for match in matches)
    decided = outcomes[1] + outcomes[-1]
    return (outcomes[-1] / decided, outcomes[1] / decided) if decided else (0.5, 0.5)


def battles(matches: Iterable[Match], places: Sequence[int], weights: tuple[float, float]) -> list[list[float]]:
    """B of shape (n, n) for the n votes at `places`: B[m, k] is what m won against k, each win by its weight."""
    row = {place: number for number, place in enumerate(places)}
    won = [[0.0] * len(places) for _ in places]
    for match in matches:
        if match.outcome == 1:
            won[row[match.first]][row[match.second]] += weights[0]
        elif match.outcome == -1:
            won[row[match.second]][row[match.first]] += weights[1]
    return won


def elo(won: Sequence[Sequence[float]], ridge: float) -> list[float]:
    """Ratings e of shape (n,) with mean 0: argmax of sum B[m, k] log sigma(e_m - e_k) - ridge sum e^2.

    In natural-log units, rounded to six digits. The ridge is ours: without it the likelihood has no maximum where one
    judgment wins everything. Newton's method, whose steps are shortened while they are long: it converges from
    anywhere, since the loss is convex and its curvature changes slowly.
    """
    ratings = [0.0] * len(won)
    for _ in range(_NEWTON_STEPS):
        gradient = [2 * ridge * rating for rating in ratings]
        bend = [[2 * ridge * (m == k) for k in range(len(won))] for m in range(len(won))]
        for m, k in permutations(range(len(won)), 2):
            # The derivative of -log sigma(gap) is sigma(gap) - 1, for the winner; the loser's is its negative.
            surprise = 1 / (1 + exp(ratings[m] - ratings[k]))
            pull, curve = won[m][k] * surprise, won[m][k] * surprise * (1 - surprise)
            gradient[m] -= pull
            gradient[k] += pull
            bend[m][m] += curve
            bend[k][k] += curve
            bend[m][k] -= curve
            bend[k][m] -= curve
        step = _solved(bend, gradient)
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

    There are at most `rules.share` as many as the round has `actor_pairs`. `kept`; `equal`: the ratings prefer none;
    `long`: the chosen judgment is too long; `surplus`: left out because there are enough.
    """
    pooled = position_weights(match for rollout in rollouts for match in rollout.matches)
    found: list[JudgePreference] = []
    counts = {"kept": 0, "equal": 0, "long": 0, "surplus": 0}
    for rollout in rollouts:
        votes = rollout.judgments[0].votes
        places = distinct(votes)
        weights = pooled if rules.positions == "round" else position_weights(rollout.matches)
        ratings = elo(battles(rollout.matches, places, weights), rules.ridge)
        best, worst = ratings.index(max(ratings)), ratings.index(min(ratings))
        chosen, rejected = votes[places[best]], votes[places[worst]]
        if ratings[best] - ratings[worst] < _EQUAL:
            counts["equal"] += 1
        elif rules.max_chosen_length is not None and len(chosen.text) > rules.max_chosen_length:
            counts["long"] += 1
        else:
            found.append(JudgePreference(rollout, chosen, rejected, ratings[best], ratings[worst]))
    rng = random.Random(content_key(seed, "meta-judged pairs", [p.rollout.key for p in found]))  # noqa: S311 - no secret
    most = round(rules.share * actor_pairs)
    kept = [found[place] for place in sorted(rng.sample(range(len(found)), min(most, len(found))))]
    return kept, {**counts, "kept": len(kept), "surplus": len(found) - len(kept)}


def figures(rollouts: Sequence[Rollout]) -> dict[str, float | None]:
    """What a round's meta-verdicts say of the meta-judge; None where there is nothing to measure, else shares (0 to 1).

    `no_verdict`: verdicts that could not be read. `prefers_higher_score`: of the decided ones between judgments of
    unequal score, those for the higher one; near 1 the meta-judge adds nothing to the scores (63 % in the first and
    98 % in the second round of the paper). `first_wins`: of the decided ones, those for the judgment shown first.
    `flips`: of the pairs decided in both orders, those decided differently.
    """
    matches = [(rollout.judgments[0].votes, match) for rollout in rollouts for match in rollout.matches]
    decided = [(votes, match) for votes, match in matches if match.outcome]
    higher = [
        (first > second) == (match.outcome == 1)
        for votes, match in decided
        if (first := votes[match.first].score) is not None
        and (second := votes[match.second].score) is not None
        and first != second
    ]
    flips = []
    for rollout in rollouts:
        won = {(match.first, match.second): match.outcome for match in rollout.matches if match.outcome}
        flips += [won[a, b] == won[b, a] for a, b in won if a < b and (b, a) in won]
    return {
        "no_verdict": _share([match.status != "ok" for _, match in matches]),
        "prefers_higher_score": _share(higher),
        "first_wins": _share([match.outcome == 1 for _, match in decided]),
        "flips": _share(flips),
    }


def meta_tasks(run: str, recipe: Recipe, stage: str, rollouts: Sequence[Rollout], policy: str) -> list[Task]:
    """The judgments of one answer of each rollout, compared by the model that wrote them."""
    how = table(recipe, MetaRules).model_dump(include={"rubric", "temperature", "top_p", "max_tokens"})
    compare = Compare(of="judgments", **how)
    tasks = []
    for rollout in rollouts:
        place = widest(rollout, recipe.seed)
        if place is not None:
            given = [rollout.responses[place]]
            item = PromptItem(prompt_id=rollout.prompt_id, prompt=rollout.prompt, responses=given)
            task = make_task(run, recipe, stage, "meta", item, policy)
            tasks.append(task.model_copy(update={"judgments": [rollout.judgments[place]], "compare": compare}))
    return tasks


def _solved(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """x with `matrix` x = `right`, by elimination. A diagonal that outweighs its row, as here, needs no pivoting."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for place, pivot in enumerate(rows):
        for row in rows[:place] + rows[place + 1 :]:
            share = row[place] / pivot[place]
            row[place:] = [a - share * b for a, b in zip(row[place:], pivot[place:], strict=True)]
    return [row[-1] / row[place] for place, row in enumerate(rows)]


def _share(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None
