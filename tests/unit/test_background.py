"""Background loops and how they are ended."""

import asyncio

from selfreward.background import end


def test_a_loop_that_is_ended_while_it_ends_its_own_leaves_none_behind() -> None:
    async def swallows_two() -> None:
        for _ in range(3):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue

    async def main() -> None:
        inner = asyncio.create_task(swallows_two())

        async def owner() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await end([inner])

        outer = asyncio.create_task(owner())
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            # `end` cancels again what takes longer than a second, so the owner is cancelled in the midst of its `end`.
            await end([outer])
        assert inner.done()
        assert outer.cancelled()

    asyncio.run(main())
