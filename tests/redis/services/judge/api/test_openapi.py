"""The judge's OpenAPI document: it is the one that was agreed on, its examples work, and the service keeps to it."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
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

SNAPSHOT = Path(__file__).with_name("judge_openapi.json")
KEY = "secret"
REGENERATE = "python -m tests.redis.services.judge.api.test_openapi"


def current() -> str:
    """The document as it is served, in the form of the snapshot."""
    return json.dumps(create_app(JudgeSettings()).openapi(), indent=1, sort_keys=True) + "\n"


def test_the_document_is_the_agreed_one() -> None:
    assert SNAPSHOT.read_text() == current(), (
        f"the judge's API has changed. If that is meant, run `{REGENERATE}`, and say in CHANGELOG.md what a caller "
        "has to do"
    )


def test_every_post_route_has_an_example_that_works(redis_url: str) -> None:
    document = json.loads(current())
    posts = {path for path, operations in document["paths"].items() if "post" in operations}
    assert posts - {"/seed_session"} == set(EXAMPLES)

    async def scenario() -> None:
        async with running(Engine(), redis_url=redis_url) as client:
            for path, example in EXAMPLES.items():
                answer = await client.post(path.replace("{rubric_id}", "countdown"), json=example)
                assert answer.is_success, (path, answer.text)

    asyncio.run(scenario())


def test_every_error_answer_is_documented() -> None:
    paths = json.loads(current())["paths"]

    of_judging = " ".join(sorted(paths["/v1/judge"]["post"]["responses"]))
    assert of_judging == "200 400 401 404 409 413 422 429 499 503"
    assert set(paths["/v1/jobs/{job_id}"]["get"]["responses"]) == {"200", "401", "404", "422", "503"}
    assert set(paths["/readyz"]["get"]["responses"]) == {"200", "503"}
    for path, operations in paths.items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    schema = response["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/Error"}, (path, method, status)


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
schema = schemathesis.openapi.from_dict(json.loads(current()), config=config)


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


if __name__ == "__main__":
    SNAPSHOT.write_text(current())
