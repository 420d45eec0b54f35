"""Slots towards the engine: never more than the limit, taken in turns, never lost."""

import asyncio

from services.judge.engine.slots import FairSlots, Lane


def test_the_limit_holds_and_lanes_take_turns() -> None:
    async def scenario() -> tuple[list[str], int]:
        slots, order, running, most = FairSlots(2), list[str](), 0, 0

        async def work(lane: Lane, name: str) -> None:
            nonlocal running, most
            async with slots.slot(lane):
                order.append(name)
                running += 1
                most = max(most, running)
                await asyncio.sleep(0)
                running -= 1

        big, small = Lane(), Lane()
        async with asyncio.TaskGroup() as group:
            for index in range(20):
                group.create_task(work(big, f"big{index}"))
            await asyncio.sleep(0)
            group.create_task(work(small, "small"))
        assert (slots.in_use, slots.waiting) == (0, 0)
        return order, most

    order, most = asyncio.run(scenario())

    assert most == 2
    assert order.index("small") <= 6
    assert [name for name in order if name != "small"] == [f"big{index}" for index in range(20)]


def test_a_cancelled_wait_gives_its_slot_on() -> None:
    async def scenario() -> None:
        slots, lane = FairSlots(1), Lane()
        held, release = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            async with slots.slot(lane):
                held.set()
                await release.wait()

        async def pass_through() -> None:
            async with slots.slot(lane):
                pass

        holder = asyncio.create_task(hold())
        await held.wait()
        waiters = [asyncio.create_task(pass_through()) for _ in range(3)]
        await asyncio.sleep(0)
        assert slots.waiting == 3
        waiters[0].cancel()
        release.set()
        await holder
        waiters[1].cancel()  # it holds the promise of the slot by now, and has not run yet
        await asyncio.wait_for(waiters[2], 1)
        await asyncio.gather(*waiters, return_exceptions=True)
        assert (slots.in_use, slots.waiting) == (0, 0)

    asyncio.run(scenario())


def test_callers_take_turns_however_many_requests_they_have() -> None:
    async def scenario() -> list[str]:
        slots, order = FairSlots(1), list[str]()

        async def work(lane: Lane, caller: str, name: str) -> None:
            async with slots.slot(lane, caller):
                order.append(name)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for request in range(50):
                lane = Lane()
                for item in range(4):
                    group.create_task(work(lane, "bulk", f"bulk{request}.{item}"))
            await asyncio.sleep(0)
            lanes = [Lane(), Lane()]
            for item in range(2):
                for index, lane in enumerate(lanes):
                    group.create_task(work(lane, "interactive", f"call{index}.{item}"))
        assert (slots.in_use, slots.waiting) == (0, 0)
        return order

    order = asyncio.run(scenario())

    assert len(order) == 204
    # Every other turn is the interactive caller's until it has nothing left, by turns over its two requests.
    first = order.index("call0.0")
    assert first <= 3  # it came when a slot had been handed on already
    assert order[first : first + 8 : 2] == ["call0.0", "call1.0", "call0.1", "call1.1"]
    bulk = [name for name in order if name.startswith("bulk")]
    # The first request had a slot at once and stands in line with its next item; then each has its turn.
    assert [name.partition(".")[2] for name in bulk[:51]] == ["0", "1", *["0"] * 49]


def test_slots_can_become_fewer_and_more() -> None:
    async def scenario() -> list[int]:
        slots, lane, counts = FairSlots(4), Lane(), list[int]()
        release = asyncio.Event()

        async def work() -> None:
            async with slots.slot(lane):
                await release.wait()

        tasks = [asyncio.create_task(work()) for _ in range(10)]
        for limit in (4, 1, 6):
            slots.resize(limit)
            await asyncio.sleep(0)
            counts.append(slots.in_use)
        slots.resize(2)
        release.set()
        await asyncio.gather(*tasks)
        assert (slots.in_use, slots.waiting) == (0, 0)
        return counts

    assert asyncio.run(scenario()) == [4, 4, 6]
