"""Jobs without a Redis, and the pages of their results."""

import httpx

from services.judge.jobs.store import page
from tests.support.hermetic import CLOSED
from tests.support.judge_engine import Engine, message
from tests.support.judge_jobs import batch, with_judge


def test_without_redis_jobs_are_503_and_judging_works() -> None:
    async def check(client: httpx.AsyncClient) -> None:
        answer = await client.post("/v1/jobs", json=batch(1))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "SELFREWARD_REDIS_URL" in message(answer)
        assert (await client.post("/v1/judge", json=batch(1))).status_code == 200

    with_judge(f"redis://{CLOSED}/0", Engine(), check)


def test_pages() -> None:
    ready = [range(4), range(4, 8), range(8, 9)]

    assert page(ready, 0, None) == ready
    assert page(ready, 3, 4) == [range(3, 4), range(4, 7)]
    assert page(ready, 9, None) == []
    assert page([range(4, 8)], 0, 2) == [range(4, 6)]
