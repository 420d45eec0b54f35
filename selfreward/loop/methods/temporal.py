"""Temporal self-rewarding (2508.06026): rejected answers of the past, chosen ones of the future.

The answers of one model grow alike, and with them the gap between chosen and rejected shrinks (9 times in 4 rounds,
ibid.). So a round rejects the worst answer of M1, which stays where it was, and chooses the best one of a future model,
trained on the round's first pairs and then discarded. All are scored by the model that training starts from.
A rollout holds that model's own answers and, after them, those of M1.

Each of M2, M3, ... is made twice: first F2, from answers of the model before it, and then M2, from the same start, on
pairs that know the answers of F2 too.
"""

import random
from collections.abc import Iterable, Sequence
from typing import Any

from selfreward.contracts.base import content_key
from selfreward.contracts.rollouts import PreferencePair, Rollout
from selfreward.loop import paths
from selfreward.loop.cost import Work
from selfreward.loop.methods.base import Inputs, Method
from selfreward.loop.pairing import OUTCOMES, Candidate, candidates, filtered, make_pair
from selfreward.loop.stages import Kind, stage_number
from selfreward.loop.tasks import Task, items_of, make_task, sampled
from selfreward.recipe.recipe import Recipe
from selfreward.recipe.rounds import Pairs

# Phases as journals name them: M1 answers, before it is replaced; the future model answers.
_ANSWER_WITH_M1 = "past"
_ANSWER_WITH_FUTURE_MODEL = "foresee"


class Temporal(Method):
    """The best of the present and future answers over the worst of the present and past ones."""

    name = "temporal"

    def check_pairs(self, recipe: Recipe) -> None:
        """Length control belongs to the best and the worst of one model's answers."""
        if recipe.pairs.length_control:
            raise ValueError("pairs.length_control is for method='self_rewarding': leave it out with method='temporal'")
        super().check_pairs(recipe)

    def check_training(self, recipe: Recipe) -> None:
        """Each model is trained from the one before it, on pairs that hold the past."""
        super().check_training(recipe)
        if recipe.loop.init_from != "previous":
            raise ValueError("method='temporal' trains each model from the one before it: leave out loop.init_from")
        if recipe.loop.replay:
            raise ValueError("method='temporal' has the past in its rejected answers: leave out loop.replay")
        if recipe.loop.measure_consistency:
            raise ValueError("loop.measure_consistency is not for method='temporal', whose rounds have three models")

    def rounds(self, recipe: Recipe) -> list[str]:
        """Before each round's model its future model."""
        return [stage for later in super().rounds(recipe) for stage in (future_stage_of(later), later)]

    def kind(self, recipe: Recipe, stage: str) -> Kind:
        """F2, F3, ... are future models."""
        return "future" if stage.startswith("F") else super().kind(recipe, stage)

    def data_phases(self, recipe: Recipe, stage: str) -> tuple[str, ...]:
        """M1 answers all prompts once, for later rounds to reject; the future model answers those of its round."""
        kind = self.kind(recipe, stage)
        if kind == "future":
            first = (_ANSWER_WITH_M1,) if stage == "F2" else ()
            return (*first, "prompts", "rollouts", "pairs", "watch_pairs")
        if kind == "round":
            return (_ANSWER_WITH_FUTURE_MODEL, "rollouts", "pairs")
        return super().data_phases(recipe, stage)

    def evaluation_phases(self, recipe: Recipe, stage: str) -> tuple[str, ...]:
        """Future models are discarded."""
        return () if self.kind(recipe, stage) == "future" else super().evaluation_phases(recipe, stage)

    def actor(self, recipe: Recipe, stage: str, phase: str = "rollouts") -> str:
        """A round's rollouts are the future model's answers, judged by the model that training starts from."""
        if self.kind(recipe, stage) != "round":
            return super().actor(recipe, stage, phase)
        return future_stage_of(stage) if phase == _ANSWER_WITH_FUTURE_MODEL else self.parent(recipe, stage)

    def answers(self, recipe: Recipe, stage: str) -> int:
        """For a future model the present and the past answers."""
        return (2 if self.kind(recipe, stage) == "future" else 1) * recipe.sampling.n

    def inputs(self, run: str, recipe: Recipe, stage: str, phase: str) -> dict[str, str]:
        """Past answers for the prompts of a future model; the rollouts of that model's stage for the round's pairs."""
        if phase == _ANSWER_WITH_M1:
            return {"items": paths.data(run, "prompts")}
        if phase == _ANSWER_WITH_FUTURE_MODEL:
            return {"items": paths.prompts(run, future_stage_of(stage))}
        more = {}
        if phase == "prompts" and self.kind(recipe, stage) == "future":
            more = {"past": paths.data(run, "past")}
        if phase in ("pairs", "audit") and self.kind(recipe, stage) == "round":
            more = {"present": paths.rollouts(run, future_stage_of(stage))}
        return super().inputs(run, recipe, stage, phase) | more

    def prompts(self, recipe: Recipe, stage: str, inputs: Inputs) -> list[dict[str, Any]]:
        """The stage's prompts, each with the past answers."""
        return anchored_prompts(super().prompts(recipe, stage, inputs), inputs["past"])

    def tasks(self, run: str, recipe: Recipe, stage: str, phase: str, policy: str, inputs: Inputs) -> list[Task]:
        """Answers that nobody judges yet, in the phases that only answer; a round's given ones are only judged."""
        if phase == "rollouts":
            if self.kind(recipe, stage) != "round":
                return super().tasks(run, recipe, stage, phase, policy, inputs)
            items = items_of(inputs["items"])
            return [make_task(run, recipe, stage, phase, item, policy, judge=recipe.judging) for item in items]
        items = [item.model_copy(update={"responses": []}) for item in items_of(inputs["items"])]
        if phase == _ANSWER_WITH_M1:
            items = items[: recipe.loop.iterations * recipe.prompts.per_iteration]
        generate = sampled(recipe.sampling, recipe.sampling.n)
        return [make_task(run, recipe, stage, phase, item, policy, generate) for item in items]

    def results(self, run: str, stage: str, phase: str, done: Sequence[Rollout]) -> tuple[str, list[dict[str, Any]]]:
        """Of the phases that only answer: prompts with answers, without those that were given up."""
        if phase == "rollouts":
            return super().results(run, stage, phase, done)
        artifact = paths.data(run, "past") if phase == _ANSWER_WITH_M1 else paths.prompts(run, stage)
        return artifact, [_answered(rollout) for rollout in done]

    def pairs(
        self, recipe: Recipe, rollouts: Sequence[Rollout], inputs: Inputs
    ) -> tuple[list[PreferencePair], dict[str, int]]:
        """Those of the present and past answers for a future model; with the future answers for the round itself."""
        present = [Rollout.model_validate(row) for row in inputs.get("present", ())]
        first, future = (present, rollouts) if "present" in inputs else (rollouts, [])
        return build_pairs(first, future, recipe.sampling.n, recipe.pairs, recipe.seed)

    def sampled_of_a_prompt(self, recipe: Recipe, stage: str) -> int:
        """M1 and the present model answer for a future model, that one for the round itself."""
        return self.answers(recipe, stage)

    def cost(self, recipe: Recipe, stage: str) -> Work:
        """A round's prompts are those of its future model, where they count as read."""
        work = super().cost(recipe, stage)
        return work._replace(prompts=0) if self.kind(recipe, stage) == "round" else work

    def rows_of_a_prompt(self, recipe: Recipe, stage: str) -> float:
        """The future model trains too."""
        return 2 * super().rows_of_a_prompt(recipe, stage)

    def rollout_stages(self, recipe: Recipe, stage: str) -> set[str]:
        """A round's pairs need the present and past answers, which are the future model's rollouts."""
        more = {future_stage_of(stage)} if self.kind(recipe, stage) == "round" else set[str]()
        return {stage, *more}


def anchored_prompts(rows: Sequence[dict[str, Any]], past: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The prompts with the past answers to them, without those that M1 could not answer."""
    answered = {row["prompt_id"]: row["responses"] for row in past}
    return [{**row, "responses": answered[row["prompt_id"]]} for row in rows if row["prompt_id"] in answered]


def choose(
    own: Sequence[Candidate],
    past: Sequence[Candidate],
    future: Sequence[Candidate],
    rules: Pairs,
    rng: random.Random,
) -> tuple[Candidate, Candidate] | str:
    """(chosen, rejected), or the outcome that explains why there is no pair.

    Chosen is the best of the present model's `own` answers, or the best `future` one where that scores higher. Rejected
    is the worst own answer, or the worst `past` one where that scores lower. Of equals one is drawn at random.
    """
    if not own or len(own) + len(past) + len(future) < 2:
        return "unscored"
    chosen, rejected = rng.choice(_best(own)), rng.choice(_worst(own))
    if past and _worst(past)[0].score < rejected.score:
        rejected = rng.choice(_worst(past))
    # Last, so that the rejected answer is the one that the future model was trained with.
    if future and _best(future)[0].score > chosen.score:
        chosen = rng.choice(_best(future))
    if chosen.score == rejected.score:
        return "tie"
    return filtered(chosen, rejected, rules)


def build_pairs(
    rollouts: Iterable[Rollout], foreseen: Iterable[Rollout], sampled: int, rules: Pairs, seed: int
) -> tuple[list[PreferencePair], dict[str, int]]:
    """At most one pair for each rollout, and how many rollouts ended in which way.

    The first `sampled` answers of a rollout are the present model's own. `foreseen` are the future model's answers to
    the same prompts, matched by prompt id; without them these are the pairs that train the future model.
    """
    later = {rollout.prompt_id: candidates(rollout) for rollout in foreseen}
    pairs: list[PreferencePair] = []
    counts = dict.fromkeys(OUTCOMES, 0)
    for rollout in rollouts:
        rng = random.Random(content_key(seed, rollout.prompt_id))  # noqa: S311 - guards no secret
        found, mine = candidates(rollout), {response.text for response in rollout.responses[:sampled]}
        own = [candidate for candidate in found if candidate.text in mine]
        past = [candidate for candidate in found if candidate.text not in mine]
        # A text that is known already has its score: another one would be noise.
        known = {candidate.text for candidate in found}
        future = [candidate for candidate in later.get(rollout.prompt_id, []) if candidate.text not in known]
        outcome = choose(own, past, future, rules, rng)
        if isinstance(outcome, str):
            counts[outcome] += 1
            continue
        counts["kept"] += 1
        pairs.append(make_pair(rollout, *outcome))
    return pairs, counts


def future_stage_of(stage: str) -> str:
    """The stage of a round's future model, whose rollouts contain the present and past answers."""
    return f"F{stage_number(stage)}"


def _best(found: Sequence[Candidate]) -> list[Candidate]:
    highest = max(candidate.score for candidate in found)
    return [candidate for candidate in found if candidate.score == highest]


def _worst(found: Sequence[Candidate]) -> list[Candidate]:
    lowest = min(candidate.score for candidate in found)
    return [candidate for candidate in found if candidate.score == lowest]


def _answered(rollout: Rollout) -> dict[str, Any]:
    """A rollout's prompt with the texts of its answers."""
    return rollout.model_dump(
        mode="json", include={"prompt_id": True, "prompt": True, "responses": {"__all__": {"text"}}}
    )
