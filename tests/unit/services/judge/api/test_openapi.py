"""The judge's OpenAPI document is the one that was agreed on, and has every error."""

import json
from pathlib import Path

from services.judge.app import create_app
from services.judge.settings import JudgeSettings

SNAPSHOT = Path(__file__).with_name("judge_openapi.json")
REGENERATE = "python -m tests.unit.services.judge.api.test_openapi"


def current() -> str:
    """The document as it is served, in the form of the snapshot."""
    return json.dumps(create_app(JudgeSettings()).openapi(), indent=1, sort_keys=True) + "\n"


def test_the_document_is_the_agreed_one() -> None:
    assert SNAPSHOT.read_text() == current(), (
        f"the judge's API has changed. If that is meant, run `{REGENERATE}`, and say in CHANGELOG.md what a caller "
        "has to do"
    )


def test_every_error_answer_is_documented() -> None:
    paths = json.loads(current())["paths"]

    of_judging = " ".join(sorted(paths["/v1/judge"]["post"]["responses"]))
    assert of_judging == "200 400 401 404 409 413 422 424 429 499 503"
    assert set(paths["/v1/jobs/{job_id}"]["get"]["responses"]) == {"200", "401", "404", "422", "503"}
    assert set(paths["/readyz"]["get"]["responses"]) == {"200", "503"}
    for path, operations in paths.items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    schema = response["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/Error"}, (path, method, status)


if __name__ == "__main__":
    SNAPSHOT.write_text(current())
