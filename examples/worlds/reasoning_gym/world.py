"""Each generator of reasoning-gym as a world: `reasoning_gym:simple_integration`. Its verifier is the checker."""

from functools import partial

from examples.worlds.reasoning_gym.items import RUBRICS, entry_of, generator, write_seed_data
from examples.worlds.reasoning_gym.verifier import verifier
from examples.worlds.world import ROOT, World, WorldError


def world(detail: str = "") -> World:
    """The world of the generator `detail`. WorldError if it or the library is not there."""
    if not detail:
        raise WorldError("reasoning_gym has many worlds: name one, for example reasoning_gym:simple_integration")
    generator(detail)
    return World(
        name=f"reasoning_gym:{detail}",
        title=f"reasoning-gym's {detail}",
        point_names=("correct",),
        points=partial(_points, detail),
        write_seed_data=partial(write_seed_data, detail),
        recipe=ROOT / "recipes" / "reasoning_gym.toml",
        models=("smollm2",),
        rubrics=RUBRICS,
        settings={"SELFREWARD_WORKER_CONCURRENCY": "64", "SELFREWARD_JUDGE_CONCURRENCY": "64"},
    )


def _points(name: str, prompt: str, answer: str) -> dict[str, bool]:
    return {"correct": verifier(name).score(entry_of(name, prompt), answer.strip()) >= 1}
