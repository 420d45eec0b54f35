"""`Idempotency-Key` without a Redis."""

import asyncio

from tests.support.judge_engine import Engine, body, running


def test_without_redis_a_request_with_a_key_is_answered() -> None:
    async def scenario() -> int:
        async with running(Engine()) as client:
            return (await client.post("/v1/judge", json=body("a"), headers={"Idempotency-Key": "order-1"})).status_code

    assert asyncio.run(scenario()) == 200
