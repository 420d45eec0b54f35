"""Short forms of what a recipe's method is asked for, for tests that look at one of its tasks or jobs."""

from collections.abc import Sequence
from typing import Any

from selfreward.contracts.base import Message
from selfreward.contracts.training import TrainJob
from selfreward.loop.methods import method_of
from selfreward.loop.tasks import PromptItem, Task
from selfreward.recipe.recipe import Recipe


def rollout_tasks(
    run: str, recipe: Recipe, stage: str, items: Sequence[PromptItem], policy: str, **inputs: Any
) -> list[Task]:
    """The tasks of the phase `rollouts`."""
    rows = [item.model_dump(mode="json") for item in items]
    return method_of(recipe).tasks(run, recipe, stage, "rollouts", policy, {"items": rows, **inputs})


def train_job(run: str, recipe: Recipe, stage: str, canary: list[Message], judge: str = "") -> TrainJob:
    """The training job of a stage."""
    return method_of(recipe).train_job(run, recipe, stage, canary, judge)


def score_job(run: str, recipe: Recipe, stage: str, canary: list[Message]) -> TrainJob:
    """The job that scores a stage's answers."""
    return method_of(recipe).score_job(run, recipe, stage, canary)
