"""Names of a run's stages: M0, SFT, M1, then the rounds M2, M3, ..."""

from dataclasses import dataclass
from typing import Literal

from selfreward.loop import paths
from selfreward.recipe.recipe import Recipe

Kind = Literal["base", "sft", "eft", "revised", "future", "round"]
"""How a stage's model is made: `base` is published as it is; `sft`, `eft` and `revised` are SFT on IFT data, on IFT and
EFT data, and on IFT data and revised answers; `future` is the future model of a round of `temporal`; `round` is a
round."""


@dataclass(frozen=True)
class Scorers:
    """Artifact names of the checkpoints that score a round's answers: M_t, M_{t-1} and M0."""

    policy: str
    previous: str
    reference: str


def stage_number(stage: str) -> int:
    """The t of M_t (or F_t)."""
    return int(stage[1:])


def round_index(stage: str) -> int:
    """Index of a round: 0 for M2, 1 for M3, ..."""
    return stage_number(stage) - 2


def is_adopted(recipe: Recipe, stage: str) -> bool:
    """Whether a stage's model is taken from another run: with `loop.start_from` all models up to M1 are."""
    return recipe.loop.start_from is not None and stage in ("M0", "SFT", "M1")


def scorers(run: str, stage: str) -> Scorers:
    """The checkpoints that score a round's answers: its policy, the model before the policy, and the base model."""
    number = stage_number(stage)
    return Scorers(*(paths.weights(run, f"M{back}") for back in (number - 1, number - 2, 0)))


def replays(recipe: Recipe, stage: str) -> list[tuple[str, float]]:
    """The earlier rounds whose pairs are replayed in a round, newest first, each with the share of its pairs."""
    number = stage_number(stage)
    return [(f"M{number - back}", share) for back, share in enumerate(recipe.loop.replay, 1) if number - back >= 2]
