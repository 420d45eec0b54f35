"""Self-instruct on the real engine: the base model continues a list of tasks, and what passes the filters is kept."""

import asyncio
from pathlib import Path
from random import Random

from examples.worlds.countdown.checker import parse_prompt
from examples.worlds.countdown.problems import all_problems, render_prompt, shuffle_numbers
from orchestrator.phases.prompts import write_prompts
from orchestrator.phases.serving import announce_model, serve
from orchestrator.runs.context import RunContext, Services
from orchestrator.runs.lease import acquire
from orchestrator.settings import OrchestratorSettings
from selfreward.client.generator import GeneratorClient
from selfreward.client.http import ServiceClient
from selfreward.loop.load import RunRecipe
from selfreward.loop.record import RunState, now
from selfreward.redis.connection import connect
from selfreward.store.artifacts import ArtifactStore
from tests.support.checkpoints import copy_of, publish
from tests.support.live_generator import Generator

NEEDED = 24
RECIPE = RunRecipe.model_validate(
    {
        "name": "r",
        "model": "m",
        "data": {"ift": "i", "eft": "e", "heldout": "h"},
        # Tasks of this world share all their words and differ in their numbers.
        "prompts": {"source": "self_instruct", "self_instruct": {"rouge_max": 0.9, "max_tokens": 96}},
    }
)


def test_the_base_model_writes_new_prompts(generator: Generator, tiny_model: Path) -> None:
    rng = Random(0)
    human = [render_prompt(shuffle_numbers(problem, rng)) for problem in rng.sample(all_problems("train"), 40)]
    store = ArtifactStore(generator.artifacts)
    digest = publish(store, "self-instruct/m0", copy_of(tiny_model))

    async def main() -> list[str]:
        settings = OrchestratorSettings(generator_url=generator.url, redis_url=generator.redis_url, poll_s=0.1)
        async with connect(generator.redis_url) as redis, ServiceClient(generator.url) as service:
            services = Services(settings, redis, store, GeneratorClient(service), service)
            lease = await acquire(redis, "test", 60)
            assert lease is not None
            state = RunState(run="write", recipe=RECIPE, recipe_hash=RECIPE.hash, created_at=now())
            context = RunContext(services, lease, state)
            try:
                model = await announce_model(context, "M0", "self-instruct/m0", digest)
                await asyncio.wait_for(serve(context, model), 90)
                return await write_prompts(context, model, human, NEEDED)
            finally:
                await lease.release()

    written = asyncio.run(main())
    assert len(set(written)) == NEEDED
    assert not set(written) & set(human)
    problems = [prompt for prompt in written if _is_a_problem(prompt)]
    assert len(problems) > NEEDED / 2, written


def _is_a_problem(prompt: str) -> bool:
    try:
        parse_prompt(prompt)
    except ValueError:
        return False
    return True
