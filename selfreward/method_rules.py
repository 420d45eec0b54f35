"""What each method asks of the rest of a recipe: a key that it would not read is refused, not ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selfreward.method_sections import ByConstitution, MetaJudging
from selfreward.rounds import Pairs

if TYPE_CHECKING:
    from selfreward.config import Recipe


def check_method(recipe: Recipe) -> None:
    """Raise ValueError, naming key, value and remedy, where the recipe says what its method has no use for."""
    if recipe.method == "spin":
        _check_spin(recipe)
    elif recipe.sampling.n < 2:
        raise ValueError(f"sampling.n={recipe.sampling.n} leaves nothing to prefer: give 2 or more")
    if recipe.method in ("spin", "dno") and recipe.prompts.source != "file":
        raise ValueError(f"method={recipe.method!r} needs an answer with each prompt: leave out prompts.source")
    if recipe.method == "dno" and recipe.pairs.length_control:
        raise ValueError("pairs.length_control is for method='self_rewarding': leave it out with method='dno'")
    rhos, rounds = recipe.pairs.length_control, recipe.loop.iterations
    if isinstance(rhos, list) and len(rhos) != rounds:
        raise ValueError(
            f"pairs.length_control has {len(rhos)} values for loop.iterations={rounds}: give one for each round, or a "
            "single number"
        )
    if recipe.method != "dno" and recipe.pairs.own_margin is not None:
        raise ValueError(f"pairs.own_margin is for method='dno': leave it out with method={recipe.method!r}")
    if recipe.method == "meta_rewarding":
        _check_meta(recipe)
    elif recipe.meta != MetaJudging():
        raise ValueError(f"the section `meta` is for method='meta_rewarding', not {recipe.method!r}: leave it out")
    if recipe.method == "constitutional":
        _check_constitutional(recipe)
    elif recipe.constitution != ByConstitution() or recipe.data.constitution:
        raise ValueError(
            "data.constitution and the section `constitution` are for method='constitutional', not "
            f"{recipe.method!r}: leave them out"
        )
    if recipe.loop.use_eft and recipe.judging.annotator == "engine":
        raise ValueError(
            "loop.use_eft=true teaches a judge that judging.annotator='engine' never asks: set it to false"
        )
    if recipe.loop.train_on == "positives":
        _check_positives(recipe)


def _check_constitutional(recipe: Recipe) -> None:
    if not recipe.data.constitution:
        raise ValueError("data.constitution is missing: give a file, recipes/constitutions/ holds the shipped ones")
    if recipe.loop.use_eft:
        raise ValueError(
            "loop.use_eft=true teaches a judge of points, and method='constitutional' compares: set loop.use_eft=false"
        )
    if recipe.pairs != Pairs():
        raise ValueError("method='constitutional' has no scores in points: leave out the section `pairs`")


def _check_meta(recipe: Recipe) -> None:
    if recipe.judging.votes < 2:
        raise ValueError(f"judging.votes={recipe.judging.votes} leaves no two judgments to compare: give 2 or more")
    if recipe.judging.annotator == "engine":
        raise ValueError("method='meta_rewarding' trains the judge: leave out judging.annotator, which is another one")


def _check_spin(recipe: Recipe) -> None:
    if recipe.loop.use_eft:
        raise ValueError("loop.use_eft=true teaches a judge, and method='spin' has none: set loop.use_eft=false")
    if recipe.pairs != Pairs():
        raise ValueError("method='spin' has no scores: leave out the section `pairs`")


def _check_positives(recipe: Recipe) -> None:
    if recipe.method != "self_rewarding":
        raise ValueError(f"loop.train_on='positives' is for method='self_rewarding', not {recipe.method!r}")
    if recipe.pairs.judge_pairs:
        raise ValueError("pairs.judge_pairs is for DPO: leave it out with loop.train_on='positives'")
