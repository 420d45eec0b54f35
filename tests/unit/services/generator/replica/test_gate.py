"""The gate: who is admitted, who waits, and when nothing is in flight."""

import asyncio

import pytest

from services.generator.replica.gate import Gate, GateFull, GateTimeout


def test_open_gate_says_what_a_request_runs_on() -> None:
    async def run() -> None:
        gate = Gate(max_inflight=2, max_queued=0, queue_seconds=0)
        gate.open("policy@1", "http://engine")
        first, _ = await gate.admit(), await gate.admit()
        assert (first.label, first.url, gate.inflight) == ("policy@1", "http://engine", 2)
        with pytest.raises(GateFull, match="2 requests are in flight"):
            await gate.admit()
        gate.release(first)
        gate.release(first)
        assert gate.inflight == 1

    asyncio.run(run())


def test_closed_gate_holds_requests_back_until_it_opens() -> None:
    async def run() -> None:
        gate = Gate(max_inflight=9, max_queued=2, queue_seconds=5)
        waiting = [asyncio.create_task(gate.admit()) for _ in range(2)]
        await asyncio.sleep(0)
        assert gate.queued == 2
        with pytest.raises(GateFull, match=r"are already waiting \(starting\)"):
            await gate.admit()
        gate.open("policy@2", "http://engine")
        assert [ticket.label for ticket in await asyncio.gather(*waiting)] == ["policy@2", "policy@2"]
        assert gate.queued == 0

    asyncio.run(run())


def test_waiting_ends_at_the_deadline_with_the_reason() -> None:
    async def run() -> None:
        gate = Gate(max_inflight=9, max_queued=2, queue_seconds=0.01)
        gate.close("swapping")
        with pytest.raises(GateTimeout, match="swapping"):
            await gate.admit()
        assert gate.queued == 0

    asyncio.run(run())


def test_drained_means_that_nothing_is_in_flight() -> None:
    async def run() -> None:
        gate = Gate(max_inflight=9, max_queued=2, queue_seconds=5)
        gate.open("policy@1", "http://engine")
        ticket = await gate.admit()
        gate.close("swapping")
        assert not await gate.drained(0.01)
        gate.mark_aborted()
        assert ticket.aborted
        asyncio.get_running_loop().call_later(0.01, gate.release, ticket)
        assert await gate.drained(5)

    asyncio.run(run())
