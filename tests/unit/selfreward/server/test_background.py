"""Background loops end for certain, however often a cancellation is swallowed and whoever else is cancelled."""

import asyncio
import contextlib

import pytest

from selfreward.server.background import cancel_and_wait


def test_a_task_that_ends_others_is_not_ended_before_they_are() -> None:
    """Both cancel again after the same time: the outer one must not cut the inner one short."""

    async def stubborn(swallowed: int) -> None:
        for _ in range(swallowed):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
        await asyncio.sleep(60)

    async def main() -> None:
        inner = asyncio.create_task(stubborn(3))

        async def outer() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await cancel_and_wait([inner])

        task = asyncio.create_task(outer())
        await asyncio.sleep(0)
        await cancel_and_wait([task])
        assert inner.cancelled()
        assert task.cancelled()

    asyncio.run(main())


def test_a_cancelled_end_is_cancelled_once_its_tasks_have_ended() -> None:
    async def main() -> None:
        task = asyncio.create_task(asyncio.sleep(60))
        ending = asyncio.create_task(cancel_and_wait([task]))
        await asyncio.sleep(0)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        assert task.cancelled()

    asyncio.run(main())
