"""Direct Nash optimisation, DNO-Prct (Rosset et al. 2024, 2404.03715, algorithm 2).

The model's own answers and a teacher's are scored alike, and every pair with a good winner and a wide margin is kept. A
rollout holds the sampled answers and, last, the teacher's. The annotator of the paper is GPT-4-Turbo, which sees all
answers side by side; here it is the model itself or, with `judging.annotator="engine"`, an outside one, and scores one
by one. The paper's detector of repeated n-grams is not here.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from selfreward.contracts.rollouts import PreferencePair, Rollout
from selfreward.loop.methods.base import Inputs, Method
from selfreward.loop.pairing import OUTCOMES, Candidate, candidates, make_pair
from selfreward.loop.rows import IftRow
from selfreward.recipe.recipe import Recipe
from selfreward.recipe.rounds import Pairs


class Dno(Method):
    """Every pair with a good winner and a wide margin, of a prompt's own answers and a teacher's."""

    name = "dno"
    prompt_row = IftRow

    def check_pairs(self, recipe: Recipe) -> None:
        """Length control belongs to the best and the worst answer; `pairs.own_margin` is read here alone."""
        if recipe.prompts.source != "file":
            raise ValueError("method='dno' needs an answer with each prompt: leave out prompts.source")
        if recipe.pairs.length_control:
            raise ValueError("pairs.length_control is for method='self_rewarding': leave it out with method='dno'")

    def answers(self, recipe: Recipe, stage: str) -> int:
        """The sampled answers and the teacher's."""
        return recipe.sampling.n + 1

    def prompts(self, recipe: Recipe, stage: str, inputs: Inputs) -> list[dict[str, Any]]:
        """The stage's prompts, each with the teacher's answer."""
        return taught_prompts(super().prompts(recipe, stage, inputs))

    def pairs(
        self, recipe: Recipe, rollouts: Sequence[Rollout], inputs: Inputs
    ) -> tuple[list[PreferencePair], dict[str, int]]:
        """All wide-margin pairs."""
        return build_pairs(rollouts, recipe.pairs)

    def pairs_of_a_prompt(self, recipe: Recipe) -> float:
        """Every two of n + 1 answers."""
        return recipe.sampling.n * (recipe.sampling.n + 1) / 2


def taught_prompts(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of `data.prompts` as prompts with the teacher's answer to them."""
    return [
        {"prompt_id": row["prompt_id"], "prompt": row["prompt"], "responses": [{"text": row["response"]}]}
        for row in rows
    ]


def preferences(found: Sequence[Candidate], teacher: str, rules: Pairs) -> list[tuple[Candidate, Candidate]]:
    """All (chosen, rejected) of a prompt's scored answers; `teacher` is the teacher's text.

    A chosen answer scores `min_chosen_score` or more. The rejected one is lower by `margin` or more, by `own_margin`
    where the chosen answer is the model's own.
    """
    pairs = []
    for chosen in found:
        margin = rules.margin if chosen.text == teacher or rules.own_margin is None else rules.own_margin
        pairs += [
            (chosen, rejected)
            for rejected in found
            if chosen.score > rejected.score
            and chosen.score - rejected.score >= margin
            and (rules.min_chosen_score is None or chosen.score >= rules.min_chosen_score)
            and (rules.max_rejected_score is None or rejected.score <= rules.max_rejected_score)
        ]
    return pairs


def build_pairs(rollouts: Iterable[Rollout], rules: Pairs) -> tuple[list[PreferencePair], dict[str, int]]:
    """The pairs of all rollouts, and how many rollouts ended in which way.

    `filtered`: no answer is good enough to be chosen, `below_margin`: one is, but no other is bad enough beside it.
    """
    pairs: list[PreferencePair] = []
    counts = dict.fromkeys(OUTCOMES, 0)
    for rollout in rollouts:
        found = candidates(rollout)
        made = preferences(found, rollout.responses[-1].text, rules)
        counts["kept" if made else _why_none(found, rules)] += 1
        pairs += [make_pair(rollout, chosen, rejected) for chosen, rejected in made]
    return pairs, counts


def _why_none(found: Sequence[Candidate], rules: Pairs) -> str:
    scores = [candidate.score for candidate in found]
    if len(scores) < 2:
        return "unscored"
    if len(set(scores)) == 1:
        return "tie"
    good = rules.min_chosen_score is None or max(scores) >= rules.min_chosen_score
    return "below_margin" if good else "filtered"
