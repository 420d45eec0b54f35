"""Countdown as a world: reach a target from a few numbers."""

from examples.worlds.countdown.checker import CRITERIA, criteria
from examples.worlds.countdown.seed_data import write_seed_data
from examples.worlds.world import ROOT, World, WorldError


def world(detail: str = "") -> World:
    """The world. WorldError if a detail is given."""
    if detail:
        raise WorldError(f"countdown is one world, without {detail!r}: leave that out")
    return World(
        name="countdown",
        title="Countdown",
        point_names=CRITERIA,
        points=criteria,
        write_seed_data=write_seed_data,
        recipe=ROOT / "recipes" / "countdown.toml",
        models=("m0",),
        # Answers are short, so only many of them in flight fill the engine's batch.
        settings={"SELFREWARD_WORKER_CONCURRENCY": "256", "SELFREWARD_JUDGE_CONCURRENCY": "128"},
    )
