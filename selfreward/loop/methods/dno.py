"""Direct Nash optimisation, DNO-Prct (Rosset et al. 2024, 2404.03715, algorithm 2).

One judge scores the model's own answers and a teacher's; every pair with a good winner and a wide margin is kept. A
rollout holds the sampled answers and, last, the teacher's. In the paper GPT-4-Turbo sees all answers side by side. Here
the annotator scores each answer alone, and is the model itself or, with `judging.annotator="engine"`, an outside model.
The paper's detector of repeated n-grams is not implemented.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from selfreward.contracts.rollouts import PreferencePair, Rollout
from selfreward.loop.methods.base import Inputs, Method
from selfreward.loop.pairing import OUTCOMES, Candidate, candidates, choosable, make_pair
from selfreward.loop.rows import IftRow
from selfreward.recipe.recipe import Recipe
from selfreward.recipe.rounds import Pairs


class Dno(Method):
    """Trains on every pair with a good winner and a wide margin, among sampled answers and the teacher's."""

    name = "dno"
    prompt_row = IftRow

    def check_pairs(self, recipe: Recipe) -> None:
        """Length control is for best over worst. Only this method reads `pairs.own_margin`."""
        if recipe.prompts.source != "file":
            raise ValueError("method='dno' needs an answer with each prompt: leave out prompts.source")
        if recipe.pairs.length_control != 0.0:
            raise ValueError("pairs.length_control is for method='self_rewarding': leave it out with method='dno'")

    def answers(self, recipe: Recipe, stage: str) -> int:
        """The sampled answers and the teacher's."""
        return recipe.sampling.n + 1

    def prompts(self, recipe: Recipe, stage: str, inputs: Inputs) -> list[dict[str, Any]]:
        """The stage's prompts, each with the teacher's answer."""
        return prompts_with_teacher(super().prompts(recipe, stage, inputs))

    def pairs(
        self, recipe: Recipe, rollouts: Sequence[Rollout], inputs: Inputs
    ) -> tuple[list[PreferencePair], dict[str, int]]:
        """All pairs with a wide margin."""
        return build_pairs(rollouts, recipe.pairs)

    def pairs_per_prompt(self, recipe: Recipe) -> float:
        """One for every two of n + 1 answers."""
        return recipe.sampling.n * (recipe.sampling.n + 1) / 2


def prompts_with_teacher(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of `data.prompts` as prompts, each with the teacher's answer."""
    return [
        {"prompt_id": row["prompt_id"], "prompt": row["prompt"], "responses": [{"text": row["response"]}]}
        for row in rows
    ]


def wide_margin_pairs(scored: Sequence[Candidate], teacher: str, rules: Pairs) -> list[tuple[Candidate, Candidate]]:
    """All (chosen, rejected) of a prompt's scored answers; `teacher` is the teacher's text.

    The chosen answer is one that may be chosen (`choosable`), and scores at least `min_chosen_score`. The
    rejected one is lower by at least `margin`, or by at least `own_margin` where the chosen answer is the model's own.
    """
    pairs = []
    for chosen in choosable(scored, rules):
        margin = rules.margin if chosen.text == teacher or rules.own_margin is None else rules.own_margin
        pairs += [
            (chosen, rejected)
            for rejected in scored
            if chosen.score > rejected.score
            and chosen.score - rejected.score >= margin
            and (rules.min_chosen_score is None or chosen.score >= rules.min_chosen_score)
            and (rules.max_rejected_score is None or rejected.score <= rules.max_rejected_score)
        ]
    return pairs


def build_pairs(rollouts: Iterable[Rollout], rules: Pairs) -> tuple[list[PreferencePair], dict[str, int]]:
    """The pairs of all rollouts, and how many rollouts ended in which way.

    `filtered`: no answer is good enough to be chosen. `below_margin`: one is, but no other is low enough beside it.
    `truncated`: only answers that ended at the token limit could be chosen.
    """
    pairs: list[PreferencePair] = []
    counts = dict.fromkeys(OUTCOMES, 0)
    for rollout in rollouts:
        scored = candidates(rollout)
        chosen_and_rejected = wide_margin_pairs(scored, rollout.responses[-1].text, rules)
        counts["kept" if chosen_and_rejected else _outcome(scored, rollout.responses[-1].text, rules)] += 1
        pairs += [make_pair(rollout, chosen, rejected) for chosen, rejected in chosen_and_rejected]
    return pairs, counts


def _outcome(scored: Sequence[Candidate], teacher: str, rules: Pairs) -> str:
    """Why no pair came of the answers."""
    scores = [candidate.score for candidate in scored]
    if len(scores) < 2:
        return "unscored"
    if len(set(scores)) == 1:
        return "tie"
    if wide_margin_pairs(scored, teacher, rules.model_copy(update={"chosen_truncated": True})):
        return "truncated"
    good = rules.min_chosen_score is None or max(scores) >= rules.min_chosen_score
    return "below_margin" if good else "filtered"
