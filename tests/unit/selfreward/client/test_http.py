"""Retries happen where they can help, end, and never hide a refusal."""

import asyncio
from collections.abc import Callable

import httpx
import pytest

from selfreward.client.http import ServiceClient, ServiceError, WrongPolicyVersion

Handler = Callable[[httpx.Request], httpx.Response]


def call(handler: Handler, deadline: float = 5.0) -> httpx.Response:
    async def main() -> httpx.Response:
        transport = httpx.MockTransport(handler)
        async with ServiceClient("http://x", "k", transport=transport, base_delay=0.001, deadline=deadline) as client:
            return await client.request("POST", "/y", json={"a": 1})

    return asyncio.run(main())


def answers(*statuses: int) -> tuple[Handler, list[int]]:
    sent: list[int] = []

    def handler(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer k"
        sent.append(statuses[min(len(sent), len(statuses) - 1)])
        return httpx.Response(sent[-1], text="body")

    return handler, sent


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_passing_trouble_is_retried(status: int) -> None:
    handler, sent = answers(status, status, 200)
    assert call(handler).status_code == 200
    assert sent == [status, status, 200]


def test_an_answer_that_is_not_compressed_as_it_says_is_passing_trouble() -> None:
    sent: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, headers={"Content-Encoding": "gzip"} if len(sent) == 1 else {}, content=b"plain")

    assert call(handler).text == "plain"
    assert len(sent) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422])
def test_a_refusal_is_final_and_quoted(status: int) -> None:
    handler, sent = answers(status)
    with pytest.raises(ServiceError, match=f"HTTP {status}: body") as caught:
        call(handler)
    assert caught.value.status == status
    assert len(sent) == 1


def test_retries_are_bounded() -> None:
    handler, sent = answers(503)
    with pytest.raises(ServiceError, match="failed 8 times"):
        call(handler)
    assert len(sent) == 8


def test_another_policy_version_is_its_own_error() -> None:
    handler, sent = answers(409)
    with pytest.raises(WrongPolicyVersion):
        call(handler)
    assert len(sent) == 1


def test_what_asks_to_be_tried_again_is() -> None:
    sent: list[int] = []

    def handler(_: httpx.Request) -> httpx.Response:
        sent.append(409 if not sent else 200)
        return httpx.Response(sent[-1], headers={"Retry-After": "0"} if sent[-1] == 409 else {})

    assert call(handler).status_code == 200
    assert sent == [409, 200]


def test_transport_errors_are_retried() -> None:
    tries = 0

    def handler(_: httpx.Request) -> httpx.Response:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise httpx.ConnectError("refused")
        return httpx.Response(200)

    assert call(handler).is_success


def test_the_deadline_covers_all_tries() -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(503, headers={"Retry-After": "3"})

    with pytest.raises(ServiceError, match=r"no answer in 0\.05 s"):
        call(handler, deadline=0.05)
