"""A judge in-process, and an engine that can be told to misbehave in ways a real one cannot on demand."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from selfreward.client.generator import VERSION_HEADER
from selfreward.contracts.comparisons import PairResponse, PairVerdict
from selfreward.contracts.judging import JudgeResponse
from services.judge.app import create_app
from services.judge.settings import JudgeSettings

PROMPT = "Use 7 3 12 to make 33 ."
GOOD = "7 * 3 = 21 ; 21 + 12 = 33"
Reply = Callable[[dict[str, Any]], Awaitable[Response] | Response]


def completion(
    *texts: str, version: str | None = "policy@7", finish: str = "stop", refusal: str | None = None
) -> JSONResponse:
    choices = [
        {"index": index, "message": {"role": "assistant", "content": text, "refusal": refusal}, "finish_reason": finish}
        for index, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 10, "completion_tokens": 4 * len(texts), "total_tokens": 10 + 4 * len(texts)}
    body = {"object": "chat.completion", "model": "some-model", "choices": choices, "usage": usage}
    return JSONResponse(body, headers={VERSION_HEADER: version} if version else {})


def content(sent: dict[str, Any]) -> str:
    return str(sent["messages"][0]["content"])


def sections(filled: str, tag: str) -> list[str]:
    """What the sections with a tag hold, whatever its suffix and label."""
    found = re.finditer(rf"<{tag}((?:-\w{{12}})?)(?: [^>]*)?>\n(.*?)\n</{tag}\1>", filled, re.DOTALL)
    return [section[2] for section in found]


def fours(body: dict[str, Any]) -> Response:
    return completion(*["Fine. Score: 4"] * body["n"])


def by_length(body: dict[str, Any]) -> Response:
    """By the countdown rubric each answer gets its length as its score; of two answers the longer one wins."""
    text = body["messages"][0]["content"]
    if "<response_a>" in text:
        a, b = (len(text.split(f"<response_{side}>")[1].split("</")[0]) for side in "ab")
        verdict = f"Winner: {'tie' if a == b else 'A' if a > b else 'B'}"
    else:
        verdict = f"Score: {len(text.rsplit('Answer : ', 1)[1])}"
    return completion(*[verdict] * body["n"])


def good_is_better(sent: dict[str, Any]) -> Response:
    """A judge that finds the good answer worth 5 and others worth 2."""
    return completion(*["Score: 5" if GOOD in sent["messages"][0]["content"] else "Score: 2"] * sent["n"])


def unreadable(sent: dict[str, Any]) -> Response:
    """A judge that never says a score."""
    return completion(*["no idea"] * sent["n"])


class Engine:
    """An OpenAI-compatible server whose every answer is `reply(request body)`."""

    def __init__(self, reply: Reply = fours) -> None:
        self.reply = reply
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.running = 0
        self.most_running = 0
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/models", self.models),
            ]
        )

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The bodies of questions, without the requests that have a verdict written at the end of a text."""
        return [body for body in self.bodies if "continue_final_message" not in body]

    async def chat(self, request: Request) -> Response:
        """One chat completion."""
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            reply = self.reply(body)
            return reply if isinstance(reply, Response) else await reply
        finally:
            self.running -= 1

    async def models(self, _: Request) -> Response:
        """What is served."""
        return JSONResponse({"object": "list", "data": [{"id": "policy"}]})


@asynccontextmanager
async def running(
    engine: Engine | None, transport: httpx.AsyncBaseTransport | None = None, **settings: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a judge whose engine is `engine`, or a closed port when it is None, or behind `transport`."""
    nothing_listens = "127.0.0.1:9"
    engine_settings: dict[str, Any] = {
        "generator_url": f"http://{nothing_listens}",
        "redis_url": f"redis://{nothing_listens}/0",
        "judge_engine_attempts": 2,
    }
    if engine:
        transport = httpx.ASGITransport(engine.app)
    app = create_app(JudgeSettings(**{**engine_settings, **settings}), engine_transport=transport)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://judge") as client,
    ):
        yield client


def body(*responses: str, **fields: Any) -> dict[str, Any]:
    items = [{"prompt": "Use 7 3 12 to make 33 .", "response": response} for response in responses]
    return {"rubric": "countdown", "items": items, **fields}


def post(engine: Engine | None, json: Any, path: str = "/v1/judge", **settings: Any) -> httpx.Response:
    async def scenario() -> httpx.Response:
        async with running(engine, **settings) as client:
            return await client.post(path, json=json)

    return asyncio.run(scenario())


def judged(engine: Engine, json: Any, **settings: Any) -> JudgeResponse:
    answer = post(engine, json, **settings)
    assert answer.status_code == 200, answer.text
    return JudgeResponse.model_validate_json(answer.content)


def message(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["message"])


def pairs(*items: tuple[str, str], **fields: Any) -> dict[str, Any]:
    return {"items": [{"prompt": "p", "a": a, "b": b} for a, b in items], **fields}


def compared(engine: Engine, json: Any, path: str = "/v1/judge/pairwise", **settings: Any) -> PairResponse:
    answer = post(engine, json, path, **settings)
    assert answer.status_code == 200, answer.text
    return PairResponse.model_validate_json(answer.content)


def only(result: PairResponse) -> PairVerdict:
    (verdict,) = result.data
    return verdict
