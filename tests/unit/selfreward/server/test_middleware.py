"""What every request passes first: a request id, the key and its scope, the limit of the body."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Message, Scope

from selfreward.server.budget import ByteBudget
from selfreward.server.errors import ApiError
from selfreward.server.keys import Key, Keyring, KeyScope
from selfreward.server.middleware import RequestGuard, authorize, in_time

ALICE = Key(name="alice", sha256=hashlib.sha256(b"alice").hexdigest(), scopes=["judge"])
AS_ALICE = {"Authorization": "Bearer alice"}


class Service:
    """An application behind the guard: `answers` has the path and status of each answer, `seen` counts its own."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, int]] = []
        self.seen = 0
        self.budget = ByteBudget(400, "SELFREWARD_BYTES")

    async def echo(self, request: Request) -> JSONResponse:
        """What the guard says of a request."""
        self.seen += 1
        length = len(await request.body())
        return JSONResponse({"id": request.state.request_id, "key": request.state.key.name, "length": length})

    def call(self, path: str, headers: dict[str, str], content: bytes | AsyncIterator[bytes] = b"") -> httpx.Response:
        """Send one request."""
        routes = [Route(path, self.echo, methods=["POST"]) for path in ("/any", "/judge", "/admin")]
        needed: dict[str, KeyScope | None] = {"/any": None, "/judge": "judge", "/admin": "admin"}

        def count(scope: Scope, status: int) -> None:
            self.answers.append((scope["path"], status))

        guard = RequestGuard(
            Starlette(routes=[*routes, Route("/healthz", lambda _: JSONResponse({}))]),
            Keyring([ALICE]),
            lambda scope: needed[scope["path"]],
            100,
            "SELFREWARD_LIMIT",
            self.budget,
            on_answer=count,
        )

        async def scenario() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://service") as client:
                method = "GET" if path == "/healthz" else "POST"
                return await client.request(method, path, content=content, headers=headers)

        return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/judge", {}, 401, "invalid_api_key"),
        ("/any", {"Authorization": "Bearer bob"}, 401, "invalid_api_key"),
        ("/any", AS_ALICE, 200, None),
        ("/judge", AS_ALICE, 200, None),
        ("/admin", AS_ALICE, 403, "missing_scope"),
        ("/healthz", {}, 200, None),
    ],
)
def test_a_key_opens_the_routes_of_its_scopes(path: str, headers: dict[str, str], status: int, code: str) -> None:
    service = Service()

    answer = service.call(path, headers)

    assert answer.status_code == status
    assert answer.json().get("error", {}).get("code") == code
    assert service.answers == [(path, status)]
    assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)


def test_the_application_knows_the_caller() -> None:
    assert Service().call("/any", AS_ALICE).json()["key"] == "alice"


@pytest.mark.parametrize("given", ["abc-1", "0af7651916cd43dd/8448,eb:211c", "~" * 128])
def test_a_plain_request_id_goes_back(given: str) -> None:
    answer = Service().call("/any", {**AS_ALICE, "X-Request-Id": given})

    assert answer.headers["x-request-id"] == answer.json()["id"] == given


@pytest.mark.parametrize("given", ["", "a b", "a\tb", "~" * 129])
def test_any_other_request_id_is_replaced(given: str) -> None:
    for headers in (AS_ALICE, {}):  # a refusal has an id as well
        answer = Service().call("/any", {**headers, "X-Request-Id": given})

        assert len(answer.headers["x-request-id"]) == 32


async def pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b" " * 10


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_within_the_limit_arrives_whole(announced: bool) -> None:
    content = b" " * 100 if announced else pieces(10)

    assert Service().call("/any", AS_ALICE, content).json()["length"] == 100


@pytest.mark.parametrize("announced", [True, False])
def test_a_longer_body_is_refused_before_the_application_sees_it(announced: bool) -> None:
    service = Service()

    answer = service.call("/any", AS_ALICE, b" " * 110 if announced else pieces(11))

    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_long")
    assert answer.json()["error"]["message"] == (
        "the body has more than 100 bytes: send less in one request, or raise SELFREWARD_LIMIT"
    )
    assert answer.headers["connection"] == "close"
    assert (service.seen, service.answers) == (0, [("/any", 413)])


@pytest.mark.parametrize("digits", [20, 5000])
def test_a_length_of_any_number_of_digits_is_too_long(digits: int) -> None:
    answer = Service().call("/any", {**AS_ALICE, "Content-Length": "9" * digits})

    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_long")


def test_a_stranger_learns_nothing_of_the_limit() -> None:
    assert Service().call("/any", {}, b" " * 110).status_code == 401


def test_a_key_without_the_scope_is_named() -> None:
    authorize(ALICE, "judge")
    authorize(ALICE, None)
    with pytest.raises(ApiError, match="key 'alice' lacks the scope 'run': use a key that has it") as refused:
        authorize(ALICE, "run")
    assert refused.value.status == 403


async def never_read() -> AsyncIterator[bytes]:
    raise AssertionError("the body was read")
    yield b""


def test_a_body_for_which_there_is_no_room_is_refused_unread() -> None:
    service = Service()
    others = service.budget.hold("bob")
    others.at_least(200)
    service.budget.hold("alice").at_least(110)

    answer = service.call("/any", {**AS_ALICE, "Content-Length": "95"}, never_read())

    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "too_many_bytes")
    assert answer.headers["connection"] == "close"
    others.release()
    # One key has at most half.
    assert service.call("/any", {**AS_ALICE, "Content-Length": "95"}, never_read()).status_code == 429
    assert service.call("/any", AS_ALICE, b" " * 90).status_code == 200


def test_what_a_request_held_is_free_when_it_is_answered() -> None:
    service = Service()
    for content in (b" " * 100, pieces(10), pieces(11), b" " * 110):
        service.call("/any", AS_ALICE, content)
    assert service.budget.used.total() == 0


def test_an_open_route_reads_no_body() -> None:
    assert Service().call("/healthz", {}, never_read()).status_code == 200


@pytest.mark.parametrize(("bytes_a_second", "taken"), [(1 << 10, False), (100 << 10, True)])
def test_a_body_that_comes_too_slowly_is_given_up(bytes_a_second: int, taken: bool) -> None:
    now, sent = 0.0, 0

    async def receive() -> Message:
        nonlocal now, sent
        now, sent = now + 10, sent + 1
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b" " * (10 * bytes_a_second), "more_body": sent < 20}

    async def scenario() -> None:
        passed = in_time(receive, lambda: now)
        for _ in range(20):
            await passed()

    if taken:
        asyncio.run(scenario())
    else:
        with pytest.raises(ApiError, match="send it faster") as refused:
            asyncio.run(scenario())
        assert (refused.value.status, sent) == (408, 5)


@pytest.mark.parametrize(
    ("headers", "let_in"),
    [
        ({}, True),
        ({"Host": "127.0.0.1:8000"}, True),
        ({"Host": "localhost"}, True),
        ({"Host": "[::1]:8000", "Origin": "http://localhost:3000"}, True),
        ({"Host": "rebound.example"}, False),
        ({"Host": "127.0.0.1.rebound.example"}, False),
        ({"Host": "127.0.0.1:8000", "Origin": "https://page.example"}, False),
        ({"Host": "127.0.0.1:8000", "Origin": "null"}, False),
        ({"Host": "[", "Origin": "http://["}, False),
    ],
)
def test_without_keys_pages_in_a_browser_are_kept_out(headers: dict[str, str], let_in: bool) -> None:
    """By DNS rebinding, and by a form of any page, they reached a service on loopback."""

    async def scenario() -> httpx.Response:
        async def answer(request: Request) -> JSONResponse:
            return JSONResponse({})

        app = Starlette(routes=[Route("/any", answer, methods=["POST"])])
        guard = RequestGuard(app, Keyring([]), lambda _: "run", 100, "SELFREWARD_LIMIT", ByteBudget(400, "X"))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://service") as client:
            return await client.post("/any", headers=headers)

    reply = asyncio.run(scenario())
    assert reply.status_code == (200 if let_in else 403)
    assert let_in or reply.json()["error"]["code"] == "not_local"
