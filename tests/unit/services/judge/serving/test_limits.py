"""What a key may ask for: items a second and requests at once, and when to come again."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import Response

from selfreward.server.errors import ApiError, error_response
from selfreward.server.keys import Key, Rate
from services.judge.serving.limits import KeyUse, Limits, TokenBucket
from tests.support.access import bearer, keys_file
from tests.support.judge_engine import Engine, body, fours, message, running


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Now."""
        return self.now


def test_a_bucket_refills_at_its_rate_and_never_overflows() -> None:
    clock = Clock()
    bucket = TokenBucket(Rate(items_per_second=2, burst=10), clock)

    assert bucket.take(10) == 0
    assert bucket.take(3) == 1.5
    clock.now += 1.5
    assert bucket.take(3) == 0
    clock.now += 1000
    assert bucket.take(10) == 0
    assert bucket.take(1) == 0.5


async def refused(use: KeyUse, items: int) -> httpx.Response:
    """What a request of so many items gets that is refused."""
    with pytest.raises(ApiError) as caught:
        async with use.admitted(items):
            raise AssertionError
    answer = error_response(caught.value)
    return httpx.Response(answer.status_code, headers=dict(answer.headers), content=bytes(answer.body))


def test_when_to_come_again_is_computed() -> None:
    clock = Clock()
    limited = Key(name="k", sha256="0" * 64, rate=Rate(items_per_second=2, burst=10), concurrency=2)
    use = KeyUse(limited, clock)

    async def scenario() -> None:
        async with use.admitted(4):
            async with use.admitted(1):
                crowded = await refused(use, 1)
                clock.now += 200
            assert (crowded.status_code, crowded.json()["error"]["code"]) == (429, "concurrency_limit")
            assert crowded.headers["retry-after"] == "1"
            async with use.admitted(10):
                later = await refused(use, 1)
            assert int(later.headers["retry-after"]) > 10  # requests of this key were seen to last long
        empty = await refused(use, 5)
        assert (empty.status_code, empty.json()["error"]["code"]) == (429, "rate_limit")
        assert empty.headers["retry-after"] == "3"
        assert "try again in 3 s" in message(empty)
        assert (await refused(use, 11)).status_code == 422
        assert use.running == 0

    asyncio.run(scenario())


def test_a_key_whose_limits_change_is_held_to_the_new_ones() -> None:
    limits = Limits(clock=Clock())
    key = Key(name="k", sha256="0" * 64, rate=Rate(items_per_second=1, burst=4), concurrency=1)

    async def scenario() -> None:
        async with limits.of(key).admitted(4):
            await refused(limits.of(key), 1)
            wider = key.model_copy(update={"concurrency": 2, "rate": Rate(items_per_second=1, burst=6)})
            async with limits.of(wider).admitted(6):
                assert limits.of(wider).running == 2
                crowded = await refused(limits.of(wider), 1)
        assert "has 2 requests running, 2 are allowed" in message(crowded)
        same_rate = wider.model_copy(update={"concurrency": None})
        await refused(limits.of(same_rate), 1)  # a bucket that stays does not fill up

    asyncio.run(scenario())


def test_limits_hold_over_http_and_for_each_key_by_itself(tmp_path: Path) -> None:
    limited = "rate = { items_per_second = 0.5, burst = 4 }\nconcurrency = 1"
    path = keys_file(tmp_path, slow=limited, other=limited, free="")

    async def scenario() -> None:
        release = asyncio.Event()

        async def wait(sent: dict[str, Any]) -> Response:
            await release.wait()
            return fours(sent)

        async with running(Engine(wait), keys=path) as client:

            async def send(key: str, items: int) -> httpx.Response:
                return await client.post("/v1/judge", json=body(*["a"] * items), headers=bearer(key))

            async with asyncio.TaskGroup() as group:
                first = group.create_task(send("slow", 2))
                others = [group.create_task(send(key, 2)) for key in ("other", "free", "free")]
                await asyncio.sleep(0.05)
                crowded = await send("slow", 1)
                release.set()
            assert [task.result().status_code for task in (first, *others)] == [200] * 4
            assert (crowded.status_code, crowded.headers["retry-after"]) == (429, "1")
            empty = await send("slow", 4)
            assert empty.status_code == 429
            assert empty.headers["retry-after"] == "4"
            too_many = await send("slow", 5)
            assert too_many.status_code == 422
            assert "may send 4 at once" in message(too_many)
            page = (await client.get("/metrics", headers=bearer("free"))).text
            assert 'selfreward_judge_refused_total{key="slow",reason="rate"}' in page
            assert 'selfreward_judge_refused_total{key="slow",reason="concurrency"}' in page

    asyncio.run(scenario())
