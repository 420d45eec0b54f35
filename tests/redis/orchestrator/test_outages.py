"""A phase while its Redis is killed or full: it pauses and goes on, and only what was in hand may be done again."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

import pytest
from redis.asyncio import Redis

from orchestrator.machine import advance
from orchestrator.phases.ask_workers import run_tasks
from orchestrator.runs.results import Results
from selfreward.contracts.rollouts import Rollout
from selfreward.loop.methods import method_of
from selfreward.loop.record import Transition, now
from selfreward.processes.child import free_port
from selfreward.processes.redis import start_redis
from selfreward.server.background import cancel_and_wait, restart_forever
from tests.support.orchestrator_bench import Bench, bench, working

IN_HAND = 8


class Server:
    """A Redis that the test may hurt. It has on disk what it has acknowledged."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        """Start it on what it wrote before."""
        self.process: Popen[bytes] = start_redis(self.folder, self.port, "--appendfsync", "always")

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.process.wait(timeout=10)

    async def limit(self, memory: int) -> None:
        """Set `maxmemory` in bytes; 1 makes it full at once, 0 takes the limit away."""
        async with Redis.from_url(self.url) as redis:
            await redis.config_set("maxmemory", memory)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "redis")
    yield server
    server.kill()


async def finished(b: Bench, count: int) -> list[Rollout]:
    """The rollouts of a phase that is begun anew whenever it ends with an error, as the lease holder does."""
    rollouts: list[Rollout] = []
    ended = asyncio.Event()

    async def phase() -> None:
        rollouts[:], failed = await run_tasks(b.context, b.tasks(count))
        assert failed == {}
        ended.set()
        await asyncio.Event().wait()

    loop = asyncio.create_task(restart_forever("phase", phase))
    try:
        await asyncio.wait_for(ended.wait(), 60)
    finally:
        await cancel_and_wait([loop])
    return rollouts


def asked_again(b: Bench) -> int:
    """Of how many prompts more than one answer was asked for."""
    questions = Counter(body["messages"][-1]["content"] for body in b.engine.bodies)
    return sum(questions[f"question {n}"] > 1 for n in range(80))


async def begun(b: Bench) -> None:
    async with asyncio.timeout(20):
        while await Results(b.worker.redis, "one", "M2", "rollouts").count() < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def test_a_phase_outlives_a_redis_that_is_killed_and_comes_back(server: Server, store_root: str) -> None:
    async def main() -> None:
        async with bench(server.url, store_root, worker_concurrency=IN_HAND) as b, working(b.worker):
            phase = asyncio.create_task(finished(b, 80))
            await begun(b)
            server.kill()
            await asyncio.sleep(1)
            server.start()
            assert [rollout.prompt_id for rollout in await phase] == [f"p{n}" for n in range(80)]
            assert asked_again(b) <= IN_HAND

    asyncio.run(main())


def test_a_phase_outlives_a_full_redis_and_keeps_what_it_sampled(server: Server, store_root: str) -> None:
    async def main() -> None:
        settings = {"worker_concurrency": IN_HAND, "claim_after_s": 1}
        async with bench(server.url, store_root, **settings) as b, working(b.worker):
            phase = asyncio.create_task(finished(b, 80))
            await begun(b)
            await server.limit(1)
            await asyncio.sleep(2)  # longer than what is in hand would be kept without a word
            held = await Results(b.worker.redis, "one", "M2", "rollouts").count()
            await asyncio.sleep(0.5)
            assert await Results(b.worker.redis, "one", "M2", "rollouts").count() == held < 80
            await server.limit(0)
            assert [rollout.prompt_id for rollout in await phase] == [f"p{n}" for n in range(80)]
            assert asked_again(b) <= IN_HAND
            assert await b.queue.dead() == []

    asyncio.run(main())


def test_a_phase_outlives_the_loss_of_its_queue(server: Server, store_root: str) -> None:
    async def main() -> None:
        async with bench(server.url, store_root, worker_concurrency=4, claim_after_s=0.3) as b, working(b.worker):
            phase = asyncio.create_task(finished(b, 60))
            await begun(b)
            await b.worker.redis.delete(b.queue.stream, f"{b.queue.stream}:known")
            assert len(await phase) == 60

    asyncio.run(main())


def test_results_are_dropped_though_the_leader_died_before_it_did_so(redis_url: str, store_root: str) -> None:
    async def main() -> None:
        async with bench(redis_url, store_root) as b:
            recipe, redis = b.context.recipe, b.worker.redis
            journal = [
                Transition(stage=stage, phase=phase, seconds=1, finished_at=now())
                for stage in method_of(recipe).stages(recipe)
                for phase in method_of(recipe).phases(recipe, stage)
            ]
            for entry in journal:
                await redis.hset(Results(redis, "one", entry.stage, entry.phase).key, "a", "left behind")
            b.context.state = b.context.state.model_copy(update={"journal": journal, "state": "running"})
            await advance(b.context)
            assert b.context.state.state == "done"
            assert await redis.keys("selfreward:run:one:results:*") == []

    asyncio.run(main())
