"""What each method asks of the rest of a recipe: a key that it would not read is refused, not ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selfreward.contracts.reinforcement import OwnVerdicts, RlHyper
from selfreward.contracts.training import DpoHyper
from selfreward.recipe.methods import ByConstitution, ByStep, Cream, MetaJudging, Scir
from selfreward.recipe.rounds import Pairs

if TYPE_CHECKING:
    from selfreward.recipe.recipe import Recipe

MOST_CANDIDATES = 8
"""For a step of method `process`: 28 pairs, which a judge reads within a request's deadline."""


def check_method(recipe: Recipe) -> None:
    """Raise ValueError, naming key, value and remedy, where the recipe says what its method has no use for."""
    if recipe.method == "spin":
        _check_spin(recipe)
    elif recipe.sampling.n < 2:
        raise ValueError(f"sampling.n={recipe.sampling.n} leaves nothing to prefer: give 2 or more")
    if recipe.method in ("spin", "dno") and recipe.prompts.source != "file":
        raise ValueError(f"method={recipe.method!r} needs an answer with each prompt: leave out prompts.source")
    if recipe.method in ("dno", "temporal") and recipe.pairs.length_control:
        raise ValueError(
            f"pairs.length_control is for method='self_rewarding': leave it out with method={recipe.method!r}"
        )
    if recipe.method == "temporal":
        _check_temporal(recipe)
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
    if recipe.method == "process":
        _check_process(recipe)
    elif recipe.process != ByStep():
        raise ValueError(f"the section `process` is for method='process', not {recipe.method!r}: leave it out")
    if recipe.loop.use_eft and recipe.judging.annotator == "engine":
        raise ValueError(
            "loop.use_eft=true teaches a judge that judging.annotator='engine' never asks: set it to false"
        )
    _check_implicit(recipe)
    if recipe.loop.train_on == "positives":
        _check_positives(recipe)
    if recipe.method == "self_improving":
        _check_self_improving(recipe)
    elif recipe.rl != RlHyper() or recipe.verdicts != OwnVerdicts():
        raise ValueError(
            f"the sections `rl` and `verdicts` are for method='self_improving': leave them out with {recipe.method!r}"
        )


def _check_constitutional(recipe: Recipe) -> None:
    if not recipe.data.constitution:
        raise ValueError("data.constitution is missing: give a file, recipes/constitutions/ holds the shipped ones")
    if recipe.loop.use_eft:
        raise ValueError(
            "loop.use_eft=true teaches a judge of points, and method='constitutional' compares: set loop.use_eft=false"
        )
    if recipe.pairs != Pairs():
        raise ValueError("method='constitutional' has no scores in points: leave out the section `pairs`")


def _check_process(recipe: Recipe) -> None:
    if recipe.sampling.n > MOST_CANDIDATES:
        raise ValueError(
            f"sampling.n={recipe.sampling.n}: method='process' compares every two candidates of a step in one request; "
            f"give at most {MOST_CANDIDATES}"
        )
    if recipe.pairs.model_copy(update={"judge_pairs": 0.0}) != Pairs():
        raise ValueError("method='process' has no scores in points: of `pairs` give judge_pairs alone")
    if recipe.loop.measure_consistency:
        raise ValueError("loop.measure_consistency ranks several answers, and method='process' finds one: leave it out")


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


def _check_temporal(recipe: Recipe) -> None:
    if recipe.loop.init_from != "previous":
        raise ValueError("method='temporal' trains each model from the one before it: leave out loop.init_from")
    if recipe.loop.replay:
        raise ValueError("method='temporal' has the past in its rejected answers: leave out loop.replay")
    if recipe.loop.measure_consistency:
        raise ValueError("loop.measure_consistency is not for method='temporal', whose rounds have three models")


def _check_implicit(recipe: Recipe) -> None:
    """The methods `cream` and `scir`."""
    for name, section in (("cream", Cream()), ("scir", Scir())):
        if recipe.method != name and getattr(recipe, name) != section:
            raise ValueError(f"the section `{name}` is for method={name!r}, not {recipe.method!r}: leave it out")
    if recipe.method not in ("cream", "scir"):
        return
    if recipe.pairs.model_copy(update={"judge_pairs": 0.0}) != Pairs():
        raise ValueError(f"method={recipe.method!r} chooses pairs by its own rule: of `pairs` give judge_pairs alone")
    soft = recipe.method == "cream" or recipe.scir.mode == "consistency"
    if soft and (recipe.dpo.loss != "sigmoid" or recipe.dpo.ld_alpha is not None):
        raise ValueError(
            f"dpo.loss={recipe.dpo.loss!r} and dpo.ld_alpha={recipe.dpo.ld_alpha}: the soft labels of "
            f"method={recipe.method!r} are for the sigmoid loss without ld_alpha: leave both out"
        )
    if recipe.method == "scir" and recipe.judging.annotator == "engine":
        raise ValueError(
            "method='scir' asks the policy itself, whose probabilities it compares with: leave out "
            "judging.annotator='engine'"
        )
    if recipe.method == "scir" and soft and recipe.pairs.judge_pairs:
        raise ValueError(
            f"pairs.judge_pairs={recipe.pairs.judge_pairs}: nobody compared these, and scir.mode='consistency' needs "
            "the judge's probability of every pair: leave it out, or set scir.mode='filter'"
        )


def _check_positives(recipe: Recipe) -> None:
    if recipe.method != "self_rewarding":
        raise ValueError(f"loop.train_on='positives' is for method='self_rewarding', not {recipe.method!r}")
    if recipe.pairs.judge_pairs:
        raise ValueError("pairs.judge_pairs is for DPO: leave it out with loop.train_on='positives'")


def _check_self_improving(recipe: Recipe) -> None:
    if recipe.pairs != Pairs() or recipe.dpo != DpoHyper() or recipe.loop.replay:
        raise ValueError("method='self_improving' trains on no pairs: leave out `pairs`, `dpo` and loop.replay")
    if recipe.loop.measure_consistency:
        raise ValueError("loop.measure_consistency is for methods that train on pairs: leave it out")
    if recipe.judging.annotator != "policy":
        raise ValueError(
            f"judging.annotator={recipe.judging.annotator!r}: method='self_improving' is rewarded by its own verdicts; "
            "leave it out"
        )
