"""Temporal self-rewarding (2508.06026): rejected answers come from a past model, chosen ones from a future model.

The answers of one model become alike, so the gap between chosen and rejected shrinks (9 times in 4 rounds, ibid.). A
round therefore rejects the worst answer of M1, which stays fixed, and chooses the best answer of a future model, which
is trained on the round's first pairs and then discarded. The model that training starts from scores all answers. A
rollout holds the answers of that model and, after them, those of M1.

Each of M2, M3, ... takes two trainings from the same start: first F2, on pairs of present and past answers, then M2, on
pairs that include the answers of F2.
"""

import random
from collections.abc import Iterable, Sequence
from typing import Any

from selfreward.contracts.base import content_key
from selfreward.contracts.rollouts import PreferencePair, Rollout
from selfreward.loop import paths
from selfreward.loop.cost import Cost
from selfreward.loop.methods.base import Inputs, Method
from selfreward.loop.pairing import OUTCOMES, Candidate, apply_rules, candidates, choosable, make_pair
from selfreward.loop.stages import Kind, stage_number
from selfreward.loop.tasks import Task, generation, items_of, make_task
from selfreward.recipe.recipe import Recipe
from selfreward.recipe.rounds import Pairs

# Phase names as journals have them.
_ANSWER_WITH_M1 = "past"
_ANSWER_WITH_FUTURE_MODEL = "foresee"


class Temporal(Method):
    """Prefers the best present or future answer over the worst present or past one."""

    name = "temporal"

    def check_pairs(self, recipe: Recipe) -> None:
        """Length control is for the answers of one model."""
        if recipe.pairs.length_control != 0.0:
            raise ValueError("pairs.length_control is for method='self_rewarding': leave it out with method='temporal'")
        super().check_pairs(recipe)

    def check_training(self, recipe: Recipe) -> None:
        """Each model is trained from the one before it, on pairs that contain past answers."""
        super().check_training(recipe)
        if recipe.loop.init_from != "previous":
            raise ValueError("method='temporal' trains each model from the one before it: leave out loop.init_from")
        if recipe.loop.replay:
            raise ValueError("method='temporal' has the past in its rejected answers: leave out loop.replay")
        if recipe.loop.measure_consistency:
            raise ValueError("loop.measure_consistency is not for method='temporal', whose rounds have three models")

    def rounds(self, recipe: Recipe) -> list[str]:
        """A future model comes before each round's model."""
        return [stage for later in super().rounds(recipe) for stage in (future_stage_of(later), later)]

    def kind(self, recipe: Recipe, stage: str) -> Kind:
        """F2, F3, ... are future models."""
        return "future" if stage.startswith("F") else super().kind(recipe, stage)

    def data_phases(self, recipe: Recipe, stage: str) -> tuple[str, ...]:
        """M1 answers all prompts once, for rounds to reject. Each future model answers its round's prompts."""
        kind = self.kind(recipe, stage)
        if kind == "future":
            first = (_ANSWER_WITH_M1,) if stage == "F2" else ()
            return (*first, "prompts", "rollouts", "pairs", "watch_pairs")
        if kind == "round":
            return (_ANSWER_WITH_FUTURE_MODEL, "rollouts", "pairs")
        return super().data_phases(recipe, stage)

    def evaluation_phases(self, recipe: Recipe, stage: str) -> tuple[str, ...]:
        """Future models are not evaluated."""
        return () if self.kind(recipe, stage) == "future" else super().evaluation_phases(recipe, stage)

    def actor(self, recipe: Recipe, stage: str, phase: str = "rollouts") -> str:
        """A round's rollouts are the future model's answers, judged by the model that training starts from."""
        if self.kind(recipe, stage) != "round":
            return super().actor(recipe, stage, phase)
        return future_stage_of(stage) if phase == _ANSWER_WITH_FUTURE_MODEL else self.parent(recipe, stage)

    def answers(self, recipe: Recipe, stage: str) -> int:
        """A future model's stage has the present and the past answers."""
        return (2 if self.kind(recipe, stage) == "future" else 1) * recipe.sampling.n

    def inputs(self, run: str, recipe: Recipe, stage: str, phase: str) -> dict[str, str]:
        """A future model's prompts need the past answers, a round's pairs the rollouts of the future model's stage."""
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
        return prompts_with_past_answers(super().prompts(recipe, stage, inputs), inputs["past"])

    def tasks(self, run: str, recipe: Recipe, stage: str, phase: str, policy: str, inputs: Inputs) -> list[Task]:
        """The phases before `rollouts` only answer. A round's rollouts only judge: its answers are given."""
        if phase == "rollouts":
            if self.kind(recipe, stage) != "round":
                return super().tasks(run, recipe, stage, phase, policy, inputs)
            items = items_of(inputs["items"])
            return [make_task(run, recipe, stage, phase, item, policy, judge=recipe.judging) for item in items]
        items = [item.model_copy(update={"responses": []}) for item in items_of(inputs["items"])]
        if phase == _ANSWER_WITH_M1:
            items = items[: recipe.loop.iterations * recipe.prompts.per_iteration]
        generate = generation(recipe.sampling, recipe.sampling.n)
        return [make_task(run, recipe, stage, phase, item, policy, generate) for item in items]

    def results(
        self, run: str, stage: str, phase: str, rollouts: Sequence[Rollout]
    ) -> tuple[str, list[dict[str, Any]]]:
        """The phases that only answer keep prompts with answers, without the prompts that failed."""
        if phase == "rollouts":
            return super().results(run, stage, phase, rollouts)
        artifact = paths.data(run, "past") if phase == _ANSWER_WITH_M1 else paths.prompts(run, stage)
        return artifact, [_with_answers(rollout) for rollout in rollouts]

    def pairs(
        self, recipe: Recipe, rollouts: Sequence[Rollout], inputs: Inputs
    ) -> tuple[list[PreferencePair], dict[str, int]]:
        """A future model's pairs are of present and past answers; the round's pairs are of future answers too."""
        present = [Rollout.model_validate(row) for row in inputs.get("present", ())]
        first, future = (present, rollouts) if "present" in inputs else (rollouts, [])
        return build_pairs(first, future, recipe.sampling.n, recipe.pairs, recipe.seed)

    def answers_per_prompt(self, recipe: Recipe, stage: str) -> int:
        """M1 and the present model answer in a future model's stage, the future model in the round's."""
        return self.answers(recipe, stage)

    def cost(self, recipe: Recipe, stage: str) -> Cost:
        """The prompts of a round are counted as read in the stage of its future model."""
        cost = super().cost(recipe, stage)
        return cost._replace(prompts=0) if self.kind(recipe, stage) == "round" else cost

    def rows_per_prompt(self, recipe: Recipe, stage: str) -> float:
        """Twice as many, since the future model is trained too."""
        return 2 * super().rows_per_prompt(recipe, stage)

    def rollout_stages(self, recipe: Recipe, stage: str) -> set[str]:
        """A round's pairs also need the rollouts of its future model's stage: the present and past answers."""
        more = {future_stage_of(stage)} if self.kind(recipe, stage) == "round" else set[str]()
        return {stage, *more}


def prompts_with_past_answers(rows: Sequence[dict[str, Any]], past: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The prompts, each with the past answers to it, without prompts that M1 failed to answer."""
    answered = {row["prompt_id"]: row["responses"] for row in past}
    return [{**row, "responses": answered[row["prompt_id"]]} for row in rows if row["prompt_id"] in answered]


def choose(
    present: Sequence[Candidate],
    past: Sequence[Candidate],
    future: Sequence[Candidate],
    rules: Pairs,
    rng: random.Random,
) -> tuple[Candidate, Candidate] | str:
    """(chosen, rejected), or the outcome that explains why there is no pair.

    The chosen answer is the best `present` one, or the best `future` one if that scores higher. The rejected answer is
    the worst `present` one, or the worst `past` one if that scores lower. Equal scores are drawn from at random. The
    best is that of the answers that the rules allow to be chosen.
    """
    if not present or len(present) + len(past) + len(future) < 2:
        return "unscored"
    allowed, allowed_future = choosable(present, rules), choosable(future, rules)
    chosen = rng.choice(_best(allowed)) if allowed else None
    rejected = rng.choice(_worst(present))
    if past and _worst(past)[0].score < rejected.score:
        rejected = rng.choice(_worst(past))
    # Last, so that the rejected answer is the one that the future model was trained with.
    if allowed_future and (chosen is None or _best(allowed_future)[0].score > chosen.score):
        chosen = rng.choice(_best(allowed_future))
    if chosen is None or chosen.score <= rejected.score:
        better = any(candidate.score > rejected.score for candidate in (*present, *future))
        return "truncated" if better else "tie"
    return apply_rules(chosen, rejected, rules)


def build_pairs(
    rollouts: Iterable[Rollout], future_rollouts: Iterable[Rollout], n: int, rules: Pairs, seed: int
) -> tuple[list[PreferencePair], dict[str, int]]:
    """At most one pair for each rollout, and how many rollouts ended in which way.

    The first `n` answers of a rollout are the present model's. `future_rollouts` are the future model's answers to the
    same prompts, matched by prompt id; without them the result is the pairs that train the future model.
    """
    future_of = {rollout.prompt_id: candidates(rollout) for rollout in future_rollouts}
    pairs: list[PreferencePair] = []
    counts = dict.fromkeys(OUTCOMES, 0)
    for rollout in rollouts:
        rng = random.Random(content_key(seed, rollout.prompt_id))  # noqa: S311 - guards no secret
        # The scored answers by the model that wrote them.
        scored, present_texts = candidates(rollout), {response.text for response in rollout.responses[:n]}
        present = [candidate for candidate in scored if candidate.text in present_texts]
        past = [candidate for candidate in scored if candidate.text not in present_texts]
        # A text that has a score keeps it: a second score of the same text would be noise.
        texts = {candidate.text for candidate in scored}
        future = [candidate for candidate in future_of.get(rollout.prompt_id, []) if candidate.text not in texts]
        # The pair, or why there is none.
        outcome = choose(present, past, future, rules, rng)
        if isinstance(outcome, str):
            counts[outcome] += 1
            continue
        counts["kept"] += 1
        pairs.append(make_pair(rollout, *outcome))
    return pairs, counts


def future_stage_of(stage: str) -> str:
    """The stage of a round's future model, whose rollouts contain the present and past answers."""
    return f"F{stage_number(stage)}"


def _best(scored: Sequence[Candidate]) -> list[Candidate]:
    highest = max(candidate.score for candidate in scored)
    return [candidate for candidate in scored if candidate.score == highest]


def _worst(scored: Sequence[Candidate]) -> list[Candidate]:
    lowest = min(candidate.score for candidate in scored)
    return [candidate for candidate in scored if candidate.score == lowest]


def _with_answers(rollout: Rollout) -> dict[str, Any]:
    """A rollout's prompt with the texts of its answers."""
    return rollout.model_dump(
        mode="json", include={"prompt_id": True, "prompt": True, "responses": {"__all__": {"text"}}}
    )
