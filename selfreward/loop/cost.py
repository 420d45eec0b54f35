"""What a stage of each method asks of the engine and of training, for `selfreward plan`: at most, and by its recipe."""

from math import comb
from typing import NamedTuple

from selfreward.loop import plan
from selfreward.recipe.recipe import Recipe


class Work(NamedTuple):
    """What a stage asks of the engine: prompts and texts to read, tokens to answer with, tokens of judgments.

    `sampled`: answers that the trainer samples itself, which are not in `answered`.
    """

    prompts: int = 0
    answered: int = 0
    texts: int = 0
    judged: int = 0
    sampled: int = 0


def round_work(recipe: Recipe, stage: str) -> Work:
    """What a round asks."""
    prompts = recipe.prompts.per_iteration
    texts, judged = (prompts * each for each in judged_of_a_prompt(recipe, stage))
    asked = Work(prompts, prompts * _answers_to_a_prompt(recipe) * recipe.sampling.max_tokens, texts, judged)
    if recipe.method != "self_improving":
        return asked
    # Beside the probe's answers: every question may be kept, and each answer that trains is judged as the probe's are.
    sampled = round(prompts * recipe.rl.epochs) * recipe.rl.group
    again = sampled * recipe.judging.votes * recipe.judging.max_tokens
    return asked._replace(texts=texts + sampled, judged=judged + again, sampled=sampled)


def _answers_to_a_prompt(recipe: Recipe) -> int:
    """Answers of full length, at most."""
    if recipe.method == "process":
        return recipe.process.most_steps * recipe.sampling.n
    # With `temporal` the past, the present and the future model answer.
    return recipe.sampling.n * (3 if recipe.method == "temporal" else 1)


def revision_work(recipe: Recipe) -> Work:
    """What revised answers for M1 ask, with method `constitutional`: an answer, then critiques and revisions of it."""
    prompts, rounds = recipe.prompts.per_iteration, recipe.constitution.revisions
    # A critique is written of one text, the answer so far, and a revision of two.
    return Work(prompts, prompts * (1 + 2 * rounds) * recipe.sampling.max_tokens, prompts * 3 * rounds)


def pairs_of_a_prompt(recipe: Recipe, stage: str) -> float:
    """Pairs that a prompt can give in a round, judge pairs included; of a future model too."""
    n, steps = recipe.sampling.n, recipe.process.max_steps
    found = {
        "dno": n * (n + 1) / 2,
        "spin": float(n),
        "scir": n // 2,
        "process": steps,
        "constitutional": comb(n, 2),
        "self_improving": 0,
    }
    own = found.get(recipe.method, _models(recipe))
    of_meta_judge = recipe.meta.share if plan.meta_judged(recipe, stage) else 0
    return own * (1 + recipe.pairs.judge_pairs + of_meta_judge)


def _models(recipe: Recipe) -> int:
    """Models that a round trains: with method `temporal` a future one too."""
    return 2 if recipe.method == "temporal" else 1


def judged_of_a_prompt(recipe: Recipe, stage: str) -> tuple[int, int]:
    """How many texts the judge reads about a prompt's answers, and how many tokens it writes about them at most."""
    if recipe.method in ("spin", "cream"):
        return 0, 0
    if recipe.method == "scir" and recipe.scir.judge == "pairwise":
        shown = recipe.sampling.n // 2 * 2
        return shown, shown * recipe.scir.votes * recipe.scir.max_tokens
    if recipe.method == "constitutional":
        # Every two answers in both orders, by each principle.
        shown = 2 * comb(recipe.sampling.n, 2) * recipe.constitution.principles
        return shown, shown * recipe.constitution.max_tokens
    if recipe.method == "process":
        # Every two candidates of each step in both orders.
        shown = recipe.process.most_steps * recipe.sampling.n * (recipe.sampling.n - 1)
        return shown, shown * recipe.process.judging.votes * recipe.process.judging.max_tokens
    answers = 3 * recipe.sampling.n if recipe.method == "temporal" else recipe.sampling.n + (recipe.method == "dno")
    judged = answers * recipe.judging.votes * recipe.judging.max_tokens
    if plan.meta_judged(recipe, stage):
        shown = recipe.judging.votes * (recipe.judging.votes - 1)
        return answers + shown, judged + shown * recipe.meta.max_tokens
    return answers, judged
