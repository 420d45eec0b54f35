"""The orchestrator's reload step against a real generator: a new model is waited for, a bad one fails the run."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from orchestrator.phases.serving import announce_model, replica_urls, serve
from orchestrator.runs.context import RunContext, Services
from orchestrator.runs.errors import RunFailed
from orchestrator.runs.lease import acquire
from orchestrator.settings import OrchestratorSettings
from selfreward.client.generator import GeneratorClient
from selfreward.client.http import ServiceClient
from selfreward.loop.record import RunState, now
from selfreward.redis.connection import connect
from selfreward.store.artifacts import ArtifactStore
from tests.support.checkpoints import copy_of, perturbed, publish
from tests.support.factories import recipe
from tests.support.live_generator import Generator

RECIPE = recipe()


def poisoned(tensors: dict[str, np.ndarray]) -> None:
    """Not a number in one place."""
    tensors["model.norm.weight"][0] = np.nan


def announce_and_serve(generator: Generator, name: str, digest: str) -> str:
    """The label of the version that every replica serves in the end."""

    async def main() -> str:
        settings = OrchestratorSettings(generator_url=generator.url, redis_url=generator.redis_url, poll_s=0.1)
        async with connect(generator.redis_url) as redis, ServiceClient(generator.url) as service:
            store = ArtifactStore(generator.artifacts)
            services = Services(settings, redis, store, GeneratorClient(service), service)
            lease = await acquire(redis, "test", 60)
            assert lease is not None
            state = RunState(run="one", recipe=RECIPE, recipe_hash=RECIPE.hash, created_at=now())
            context = RunContext(services, lease, state)
            try:
                model = await announce_model(context, "M1", name, digest)
                await asyncio.wait_for(serve(context, model), 90)
                return model.policy_version
            finally:
                await lease.release()

    return asyncio.run(main())


def test_a_new_model_is_waited_for_and_a_poisoned_one_fails_the_run(generator: Generator, tiny_model: Path) -> None:
    store = ArtifactStore(generator.artifacts)
    good = publish(store, "reload/good", copy_of(tiny_model, perturbed(5)))
    label = announce_and_serve(generator, "reload/good", good)
    assert generator.weights()["label"] == label
    bad = publish(store, "reload/bad", copy_of(tiny_model, poisoned), proven=False)
    with pytest.raises(RunFailed, match=r"refused policy@\d+: .*model\.norm\.weight"):
        announce_and_serve(generator, "reload/bad", bad)
    assert announce_and_serve(generator, "reload/good", good) == label


def test_every_address_behind_a_name_is_a_replica() -> None:
    assert replica_urls("http://127.0.0.1:8000") == ["http://127.0.0.1:8000"]
    assert replica_urls("http://localhost:8000") == ["http://127.0.0.1:8000"]
    assert replica_urls("https://example.org/base") == ["https://example.org/base"]
