"""Integration as a world: antiderivatives of sums."""

from examples.worlds.integration.checker import POINTS, points
from examples.worlds.integration.reviews import RUBRICS
from examples.worlds.integration.seed_data import write_seed_data
from examples.worlds.world import ROOT, World, WorldError


def world(detail: str = "") -> World:
    """The world. WorldError if a detail is given."""
    if detail:
        raise WorldError(f"integration is one world, without {detail!r}: leave that out (another one is countdown)")
    return World(
        name="integration",
        title="Integration",
        point_names=POINTS,
        points=points,
        write_seed_data=write_seed_data,
        recipe=ROOT / "recipes" / "integration.toml",
        models=("smollm2",),
        rubrics=RUBRICS,
        settings={"SELFREWARD_WORKER_CONCURRENCY": "64", "SELFREWARD_JUDGE_CONCURRENCY": "64"},
    )
