"""The plan of a run, derived from its recipe alone: stages, their phases, their training jobs.

Stages: M0 (the base model, published), SFT (IFT only: writes the EFT judgments and is the comparison), M1 (SFT of M0 on
IFT and EFT), M2, M3, ... (the rounds: DPO on pairs of the recipe's method, SFT of M0 on IFT, EFT and the chosen
answers, or reinforcement learning on the policy's own questions). Without EFT, M1 is the SFT baseline itself. With
method `constitutional` the SFT baseline answers a slice of the prompts and revises its answers, and M1 is SFT of M0 on
IFT and the revisions.
Method `temporal` makes each of M2, M3, ... twice: first F2, from answers of the model before it, and then M2, from the
same start, on pairs that know the answers of F2 too.
"""

from typing import Literal

from selfreward.loop.methods.implicit import Scorers
from selfreward.loop.paths import weights
from selfreward.recipe.recipe import Recipe, Retention

Kind = Literal["base", "sft", "eft", "revised", "future", "round"]

_SERVED = ("train", "publish", "reload")
_DATA = ("prompts", "rollouts", "pairs")
_WATCHED = ("evaluate", "watch_model")


def stages(recipe: Recipe) -> list[str]:
    """Names of the run's stages in order."""
    baseline = ["SFT"] if recipe.loop.use_eft or recipe.method == "constitutional" else []
    rounds = [f"M{number}" for number in range(2, recipe.loop.iterations + 2)]
    if recipe.method == "temporal":
        rounds = [stage for later in rounds for stage in (f"F{_number(later)}", later)]
    return ["M0", *baseline, "M1", *rounds]


def _number(stage: str) -> int:
    return int(stage[1:])


def kind(recipe: Recipe, stage: str) -> Kind:
    """How a stage's model is made."""
    if stage == "M0":
        return "base"
    if stage == "SFT":
        return "sft"
    if stage == "M1" and recipe.method == "constitutional":
        return "revised"
    if stage == "M1":
        return "eft" if recipe.loop.use_eft else "sft"
    return "future" if stage.startswith("F") else "round"


def phases(recipe: Recipe, stage: str) -> tuple[str, ...]:
    """A stage's phases in order. Self-instruct prompts are written while the base model is served: it stays fixed.

    The SFT baseline is not watched: it has not learned to judge, and its judgments count only where people agree.
    """
    made = kind(recipe, stage)
    # Last, since only then is it known which model is the best, and the stage's rollouts have been read.
    retained = ("retain",) if recipe.retention != Retention() else ()
    fixed = recipe.prompts.source == "self_instruct" and recipe.method != "self_improving"
    written = ("prompts",) if fixed and recipe.loop.iterations else ()
    if adopted(recipe, stage):
        return ("adopt", *(written if made == "base" else ()))
    if made == "base":
        # It has learned neither role, so there is nothing to evaluate; generators load it while the baseline trains.
        return ("train", "publish", *written)
    if made == "sft":
        return (*_SERVED, *(_WATCHED + retained if stage == "M1" else _WATCHED[:1]))
    if made == "eft":
        return (*_DATA[1:], *_SERVED, *_WATCHED, *retained)
    if made == "revised":
        return (*_DATA, *_SERVED, *_WATCHED, *retained)
    if made == "future":
        past = ("past",) if stage == "F2" else ()
        return (*past, *_DATA, "watch_pairs", *_SERVED)
    if recipe.method == "temporal":
        return ("foresee", *_DATA[1:], *_SERVED, *_WATCHED, *retained)
    looked_at = (*(["score"] if scored(recipe) else []), *(["meta"] if meta_judged(recipe, stage) else []))
    data = (*_DATA[:2], *looked_at, *_DATA[2:])
    looks = judged(recipe) or compared(recipe) or recipe.method in ("constitutional", "process")
    watched = ("watch_pairs",) if looks else ()
    return (*data, *watched, *_SERVED, *_WATCHED, *retained)


def adopted(recipe: Recipe, stage: str) -> bool:
    """Whether a stage's model is another run's: `loop.start_from` has all of them up to M1."""
    return recipe.loop.start_from is not None and stage in ("M0", "SFT", "M1")


def judged(recipe: Recipe) -> bool:
    """Whether the answers of a round are judged, one by one."""
    if recipe.method == "scir":
        return recipe.scir.judge == "pointwise"
    return recipe.method not in ("spin", "cream", "constitutional", "process")


def compared(recipe: Recipe) -> bool:
    """Whether the answers of a round are compared, two by two."""
    return recipe.method == "scir" and recipe.scir.judge == "pairwise"


def meta_judged(recipe: Recipe, stage: str) -> bool:
    """Whether a stage's judgments are judged in their turn, to train the judge too."""
    in_turn = recipe.method == "meta_rewarding" and kind(recipe, stage) == "round"
    return in_turn and round_index(stage) < recipe.meta.judge_iterations


def scored(recipe: Recipe) -> bool:
    """Whether the answers of a round are scored by the models' own probabilities."""
    return recipe.method in ("cream", "scir") or recipe.loop.measure_consistency


def scorers(run: str, stage: str) -> Scorers:
    """The checkpoints that score a round's answers: its policy, the model before that, and the base model."""
    number = _number(stage)
    return Scorers(*(weights(run, f"M{back}") for back in (number - 1, number - 2, 0)))


def answers(recipe: Recipe, stage: str) -> int:
    """Answers of a round's rollout: the sampled ones, and after them the given ones where the method has any.

    Method `process` finds one, step by step.
    """
    if kind(recipe, stage) == "future":
        return 2 * recipe.sampling.n
    if recipe.method == "process":
        return 1
    return recipe.sampling.n + (recipe.method in ("spin", "dno"))


def actor(recipe: Recipe, stage: str) -> str | None:
    """The stage whose model answers and judges the stage's rollouts: the one before it; None for the first.

    With method `temporal` a round's rollouts are the future model's answers, judged by the model that training starts
    from.
    """
    if recipe.method == "temporal" and kind(recipe, stage) == "round":
        return parent(recipe, stage)
    found = stages(recipe)
    place = found.index(stage)
    return found[place - 1] if place else None


def present(recipe: Recipe, stage: str) -> str | None:
    """The stage whose rollouts hold the present and past answers where a round's own hold only future ones."""
    return f"F{_number(stage)}" if recipe.method == "temporal" and kind(recipe, stage) == "round" else None


def replays(recipe: Recipe, stage: str) -> list[tuple[str, float]]:
    """The earlier rounds whose pairs train a round again, newest first, each with the share of them."""
    number = _number(stage)
    return [(f"M{number - back}", share) for back, share in enumerate(recipe.loop.replay, 1) if number - back >= 2]


def slices(recipe: Recipe) -> int:
    """How many times `prompts.per_iteration` prompts a run answers: in each round, and for M1 where it is revised."""
    return recipe.loop.iterations + _revises(recipe)


def slice_index(recipe: Recipe, stage: str) -> int:
    """Which slice of the prompts a stage takes, 0 for the first."""
    return _number(stage) - 1 - (not _revises(recipe))


def _revises(recipe: Recipe) -> bool:
    return recipe.method == "constitutional" and not adopted(recipe, "M1")


def round_index(stage: str) -> int:
    """0 for M2, 1 for M3, ...: which of the rounds this is."""
    return _number(stage) - 2


def judge_of(recipe: Recipe, stage: str) -> str:
    """The model whose verdicts are the reward of a stage of reinforcement learning."""
    return "M1" if recipe.verdicts.judge == "anchor" else parent(recipe, stage)


def parent(recipe: Recipe, stage: str) -> str:
    """The stage whose weights training starts from (papers: section 1.7 of 2401.10020 starts from the previous)."""
    made = kind(recipe, stage)
    if made in ("sft", "eft", "revised") or recipe.loop.train_on == "positives":
        return "M0"
    if recipe.loop.init_from == "anchor":
        return "M1"
    return f"M{_number(stage) - 1}"
