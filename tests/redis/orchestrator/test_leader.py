"""How a run ended reaches its followers and run.json, though the leader that ended it died before it could say so."""

import asyncio
from pathlib import Path

import pytest

from orchestrator.leader import Leader
from orchestrator.runs.context import Services
from orchestrator.runs.followers import Followers
from orchestrator.runs.state import ask_to_stop, create, load
from orchestrator.settings import OrchestratorSettings
from selfreward.client.generator import GeneratorClient
from selfreward.client.http import ServiceClient
from selfreward.redis.connection import connect
from selfreward.server.background import cancel_and_wait
from selfreward.store.artifacts import ArtifactStore
from tests.support.factories import new_run


@pytest.mark.parametrize(
    ("left", "shown"), [("failed", "failed"), ("paused", "paused"), ("done", "done"), ("running", "stopped")]
)
def test_a_successor_tells_the_end_once(left: str, shown: str, redis_url: str, tmp_path: Path) -> None:
    """`left`: the state on record when the leader died; one that was running has been asked to stop."""

    async def main() -> None:
        async with connect(redis_url) as redis, ServiceClient("http://127.0.0.1:9") as nobody:
            settings = OrchestratorSettings(redis_url=redis_url, poll_s=0.02)
            store = ArtifactStore(str(tmp_path))
            await create(redis, new_run("one", state=left, message="why", told=left == "running"))
            if left != "done":
                await ask_to_stop(redis, "one")
            leading = asyncio.create_task(
                Leader(Services(settings, redis, store, GeneratorClient(nobody), nobody)).run()
            )
            async with asyncio.timeout(20):
                state = await load(redis, "one")
                while state is None or state.state != shown or not state.told:
                    await asyncio.sleep(0.02)
                    state = await load(redis, "one")
            await asyncio.sleep(0.2)
            await cancel_and_wait([leading])
            assert store.read_json("runs/one/run.json")["state"] == shown
            async with asyncio.timeout(20):
                followers = Followers(redis, most=1)
                events_of_run = [text async for text in followers.follow(followers.join("one"))]
            assert [f'"state": "{shown}"' in text for text in events_of_run] == [True]

    asyncio.run(main())
