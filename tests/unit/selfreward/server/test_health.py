"""Open routes cause no work, however often they are asked."""

import asyncio

from selfreward.server.health import Probe


def test_a_probe_asks_once_for_all_callers() -> None:
    asked = []

    async def check() -> int:
        asked.append(1)
        await asyncio.sleep(0.01)
        return len(asked)

    async def scenario() -> None:
        probe = Probe(check, seconds=60)
        assert await asyncio.gather(*(probe.result() for _ in range(100))) == [1] * 100
        assert await probe.result() == 1
        probe.forget()
        assert await probe.result() == 2

    asyncio.run(scenario())
    assert len(asked) == 2


def test_a_caller_that_leaves_takes_the_answer_from_nobody() -> None:
    async def check() -> str:
        await asyncio.sleep(0.05)
        return "well"

    async def scenario() -> None:
        probe = Probe(check, seconds=0)
        leaving, staying = asyncio.create_task(probe.result()), asyncio.create_task(probe.result())
        await asyncio.sleep(0.01)
        leaving.cancel()
        assert await staying == "well"

    asyncio.run(scenario())
