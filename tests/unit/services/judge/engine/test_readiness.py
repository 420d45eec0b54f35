"""`/readyz` of the judge: what it says of engines that cannot judge, and how often it asks them."""

import asyncio
import re

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.support.judge_engine import Engine, running


class Listing(Engine):
    """An engine that answers each question about its models with `answer`, and knows the models `by_name`."""

    def __init__(self, answer: Response, by_name: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.answer = answer
        self.by_name = by_name
        self.lists = 0
        routes = [Route("/v1/models", self.models), Route("/v1/models/{name:path}", self.model)]
        self.app = Starlette(routes=routes)

    async def models(self, _: Request) -> Response:
        """What is served."""
        self.lists += 1
        return self.answer

    async def model(self, request: Request) -> Response:
        """One of them."""
        known = request.path_params["name"] in self.by_name
        return JSONResponse({}) if known else JSONResponse({"error": "no such model"}, 404)


def names(*models: str) -> JSONResponse:
    return JSONResponse({"object": "list", "data": [{"id": model} for model in models]})


def readyz(engine: Engine | None, model: str = "judge-1") -> httpx.Response:
    async def scenario() -> httpx.Response:
        async with running(engine, judge_engine_model=model) as client:
            return await client.get("/readyz")

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    "engine",
    [
        Listing(names("other", "judge-1")),
        Listing(JSONResponse([{"id": "judge-1"}])),
        Listing(names("models/judge-1")),
        Listing(names("judge-*")),
        # A page of a longer list, or one without the other names of its models.
        Listing(names("other"), by_name=("judge-1",)),
        # Engines without a list, and one that is busy.
        Listing(JSONResponse({"error": "unknown route"}, 404)),
        Listing(JSONResponse({"error": "wrong method"}, 405)),
        Listing(JSONResponse({"error": "slow down"}, 429)),
        Listing(PlainTextResponse("hello")),
        Listing(JSONResponse({"models": ["a"]})),
    ],
)
def test_an_engine_that_may_have_the_model_is_ready(engine: Engine) -> None:
    assert readyz(engine).status_code == 200


def test_a_generator_before_its_first_policy_is_ready() -> None:
    assert readyz(Listing(names()), "policy").status_code == 200
    assert readyz(Listing(names("policy", "policy@3")), "policy").status_code == 200
    assert readyz(Listing(names("llama")), "policy").status_code == 503


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (None, "is unreachable: .*ConnectError.*mend SELFREWARD_JUDGE_ENGINE_URL"),
        (Listing(JSONResponse({"error": "no"}, 401)), "refuses the key: mend SELFREWARD_JUDGE_ENGINE_KEY"),
        (Listing(JSONResponse({"error": {"message": "API key not valid."}}, 400)), "refuses the key"),
        (Listing(JSONResponse({"error": "no"}, 403)), "forbids the key"),
        (Listing(JSONResponse({"error": "loading"}, 503)), "fails: .*HTTP 503.*loading"),
        (
            Listing(names("a", "b")),
            r"has no model 'judge-1', it has a, b: set SELFREWARD_JUDGE_ENGINE_MODEL to one of them",
        ),
        (Listing(names()), "has no model 'judge-1', it has none"),
        (Listing(names(*(f"m{index}" for index in range(40)))), r"it has m0, .*, m9 and 30 more: set"),
    ],
)
def test_an_engine_that_cannot_judge_is_not_ready_and_says_why(engine: Engine | None, said: str) -> None:
    answer = readyz(engine)

    assert answer.status_code == 503
    assert re.search(said, answer.json()["error"]["message"])


def test_the_open_route_makes_no_work_of_its_own() -> None:
    engine = Listing(names("judge-1"))

    async def scenario() -> None:
        async with running(engine, judge_engine_model="judge-1") as client:
            for _ in range(5):
                await asyncio.gather(*(client.get("/readyz") for _ in range(20)))

    asyncio.run(scenario())

    assert engine.lists == 1
