"""What each method asks of the rest of a recipe: a key that it would not read is refused, not ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selfreward.rl_training import OwnVerdicts, RlHyper
from selfreward.rounds import Pairs
from selfreward.training import DpoHyper

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
    if recipe.method != "dno" and recipe.pairs.own_margin is not None:
        raise ValueError(f"pairs.own_margin is for method='dno': leave it out with method={recipe.method!r}")
    if recipe.loop.use_eft and recipe.judging.annotator == "engine":
        raise ValueError(
            "loop.use_eft=true teaches a judge that judging.annotator='engine' never asks: set it to false"
        )
    if recipe.loop.train_on == "positives":
        _check_positives(recipe)
    if recipe.method == "self_improving":
        _check_self_improving(recipe)
    elif recipe.rl != RlHyper() or recipe.verdicts != OwnVerdicts():
        raise ValueError(
            f"the sections `rl` and `verdicts` are for method='self_improving': leave them out with {recipe.method!r}"
        )


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


def _check_self_improving(recipe: Recipe) -> None:
    if recipe.pairs != Pairs() or recipe.dpo != DpoHyper() or recipe.loop.replay:
        raise ValueError("method='self_improving' trains on no pairs: leave out `pairs`, `dpo` and loop.replay")
    if recipe.judging.annotator != "policy":
        raise ValueError(
            f"judging.annotator={recipe.judging.annotator!r}: method='self_improving' is rewarded by its own verdicts; "
            "leave it out"
        )
