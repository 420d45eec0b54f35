"""The examples of the judge's OpenAPI document work, and the service keeps to the document."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from pydantic import SecretStr
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance

from services.judge.api.openapi import EXAMPLES
from services.judge.app import create_app
from services.judge.settings import JudgeSettings
from tests.support.judge_engine import Engine, running
from tests.support.listening import listening

KEY = "secret"
# An episode's beginning takes anything, and batches need a file first.
WITHOUT_EXAMPLE = {"/seed_session", "/v1/files", "/v1/batches", "/v1/batches/{batch_id}/cancel"}
DOCUMENT = create_app(JudgeSettings()).openapi()


def test_every_post_route_has_an_example_that_works(redis_url: str) -> None:
    posts = {path for path, operations in DOCUMENT["paths"].items() if "post" in operations}
    assert posts - WITHOUT_EXAMPLE == set(EXAMPLES)

    async def scenario() -> None:
        async with running(Engine(), redis_url=redis_url) as client:
            for path, example in EXAMPLES.items():
                answer = await client.post(path.replace("{rubric_id}", "countdown"), json=example)
                assert answer.is_success, (path, answer.text)

    asyncio.run(scenario())


@pytest.fixture(scope="module")
def url(redis_server: str) -> Iterator[str]:
    """A judge that listens."""
    app = create_app(
        JudgeSettings(generator_url="http://engine", redis_url=redis_server, api_key=SecretStr(KEY)),
        engine_transport=httpx.ASGITransport(Engine().app),
    )
    with listening(app) as address:
        yield address


# Nothing is learnt from answers: they have ids and times in them, and every run is to send the same requests.
unlearned = {"extra-data-sources": {"responses": False}}
config = SchemathesisConfig.from_dict(
    {
        "seed": 1,
        "auth": {"openapi": {"key": {"bearer": KEY}}},
        "phases": {"coverage": unlearned, "fuzzing": {**unlearned, "error-feedback": {"enabled": False}}},
    }
)
schema = schemathesis.openapi.from_dict(DOCUMENT, config=config)


@schema.parametrize()
@settings(
    max_examples=4,
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_the_service_keeps_to_its_document(case: Any, url: str) -> None:
    # A request can be of the right shape and still be refused with 422, for what a schema cannot say.
    case.call_and_validate(base_url=url, excluded_checks=[positive_data_acceptance])
