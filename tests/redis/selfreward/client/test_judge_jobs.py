"""Jobs through the judge's clients, on a real judge and Redis: submitted once, followed, read and cancelled."""

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx
import pytest
from starlette.responses import Response

from selfreward import AsyncJudgeClient, JudgeClient, JudgeItem, ServiceError
from selfreward.client.http import ServiceClient
from selfreward.client.judge import RESULTS_PER_PAGE
from tests.support.judge_engine import Engine, by_length, content
from tests.support.listening import listening_judge

Pairs = list[tuple[str, str]]


def pairs(count: int) -> Pairs:
    return [(f"p{index}", "x" * (index % 5 + 1)) for index in range(count)]


class Held(Engine):
    """Scores by length, but keeps answers with the prompt `p40` waiting until `go` is set."""

    def __init__(self) -> None:
        super().__init__(self._held)
        self.go = False

    async def _held(self, sent: dict[str, Any]) -> Response:
        while "p40 " in content(sent) and not self.go:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return by_length(sent)


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def url(redis_url: str, held: Held) -> Iterator[str]:
    """A judge with jobs, one chunk of which is held back."""
    with listening_judge(held, redis_url=redis_url) as address:
        yield address
        held.go = True


def test_a_job_is_submitted_followed_and_read(client: JudgeClient, held: Held) -> None:
    held.go = True
    count = RESULTS_PER_PAGE + 50

    job = client.submit_job(pairs(count), rubric="countdown", votes=2, seed=1)
    assert (job.state, job.items) == ("queued", count)
    done = client.wait_job(job.id, 60)

    assert (done.state, done.judged, done.judge_versions) == ("done", count, {"policy@7": count})
    assert client.job(job.id) == done == client.jobs()[0]
    results = list(client.job_results(job.id))
    assert [(one.index, one.id, one.score) for one in results] == [(n, str(n), n % 5 + 1) for n in range(count)]
    assert [len(results[0].votes), results[0].judge_version] == [2, "policy@7"]
    assert list(client.job_results(job.id, offset=count - 3)) == results[-3:]
    assert list(client.job_results(job.id, offset=count)) == []
    assert client.cancel_job(job.id) == done, "one that has ended stays as it is"


def test_results_of_a_job_that_goes_on_end_at_the_first_gap(client: JudgeClient, held: Held) -> None:
    job = client.submit_job(pairs(96), rubric="countdown")
    until_judged(client, job.id, 64)

    early = [one.index for one in client.job_results(job.id)]
    held.go = True
    client.wait_job(job.id, 60)

    assert early == list(range(32))
    assert [one.index for one in client.job_results(job.id, early[-1] + 1)] == list(range(32, 96))


def test_waiting_ends_and_says_how_far_the_job_is(client: JudgeClient) -> None:
    job = client.submit_job(pairs(96), rubric="countdown")
    until_judged(client, job.id, 64)

    with pytest.raises(TimeoutError, match=f"job {job.id} has state 'running', 64 of 96 items judged after 0.2 s"):
        client.wait_job(job.id, 0.2)
    assert client.job(job.id).state == "running"
    assert client.cancel_job(job.id).state == "cancelled"
    assert client.wait_job(job.id, 5).judged == 64
    assert [one.index for one in client.job_results(job.id)] == [*range(32), *range(64, 96)]


def test_one_key_is_one_job_even_at_once(url: str, held: Held) -> None:
    held.go = True

    async def scenario() -> None:
        async with AsyncJudgeClient(url) as client:
            # A judge gives a Redis that it is not connected to one second: on a busy machine four at once take longer.
            await client.submit_job(pairs(1), rubric="countdown", idempotency_key="evening")
            items = pairs(3000)
            jobs = await asyncio.gather(
                *(client.submit_job(items, rubric="countdown", idempotency_key="night-1") for _ in range(4))
            )
            assert len({job.id for job in jobs}) == 1
            other = await client.submit_job(items[:5], rubric="countdown")
            assert [job.id for job in await client.jobs()][:2] == [other.id, jobs[0].id]
            with pytest.raises(ServiceError, match="'night-1' was used for another request"):
                await client.submit_job(items[:5], rubric="countdown", idempotency_key="night-1")
            assert (await client.wait_job(other.id, 60)).state == "done"
            assert [one.score async for one in client.job_results(other.id)] == [1, 2, 3, 4, 5]
            assert (await client.cancel_job(jobs[0].id)).items == 3000

    asyncio.run(scenario())


def test_an_answer_that_is_lost_makes_no_second_job(url: str) -> None:
    class Losing(httpx.AsyncHTTPTransport):
        """Loses the first answer on the way, as a network does."""

        lost = False

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            answer = await super().handle_async_request(request)
            if not self.lost:
                self.lost = True
                await answer.aread()
                raise httpx.ReadError("lost")
            return answer

    with JudgeClient(ServiceClient(url, base_delay=0.01, transport=Losing())) as client:
        job = client.submit_job(pairs(3), rubric="countdown")

        assert [one.id for one in client.jobs()] == [job.id]


def test_what_is_wrong_with_a_job_is_named(client: JudgeClient) -> None:
    def read(name: str) -> object:
        return next(client.job_results(name))

    calls: list[Callable[[str], object]] = [client.job, client.cancel_job, partial(client.wait_job, seconds=5), read]
    for call in calls:
        with pytest.raises(ServiceError, match=r"job 'no such\?' is not known") as refused:
            call("no such?")
        assert refused.value.status == 404
    with pytest.raises(ValueError, match="items has 0 entries, 1 to 100000 are allowed: send several jobs"):
        client.submit_job([])
    with pytest.raises(ServiceError, match="rubric 'none' is not known"):
        client.submit_job(pairs(1), rubric="none")
    with pytest.raises(ValueError, match="response = 5: give a text, or a list of messages"):
        client.submit_job([("p", 5)])  # type: ignore[list-item]


def test_any_text_can_be_in_a_job(client: JudgeClient, held: Held) -> None:
    held.go = True
    items = [JudgeItem(id="mine", prompt="p\ud800", response="xx\ud800")]

    job = client.submit_job(items, rubric="countdown")

    assert client.wait_job(job.id, 60).state == "done"
    assert [(one.id, one.score) for one in client.job_results(job.id)] == [("mine", 2)]


def until_judged(client: JudgeClient, job_id: str, count: int) -> None:
    deadline = time.monotonic() + 60
    while client.job(job_id).judged < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)
