"""`selfreward doctor`: what it finds of a machine and of a recipe."""

import json
import shutil
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner, Result

from selfreward.cli.main import app
from selfreward.processes.child import free_port
from tests.support.places import M0


def _doctor(folder: Path, *arguments: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(app, ["doctor", *arguments, "--folder", str(folder)])


def _lines(result: Result, what: str) -> list[str]:
    """The findings of one thing, with their verdicts."""
    return [line for line in result.output.splitlines() if line[5:].startswith(f"{what} ")]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe that runs, with a model of its own."""
    model = tmp_path / "model"
    shutil.copytree(M0, model)
    CliRunner().invoke(app, ["init", str(tmp_path / "mine"), "--method", "spin", "--model", str(model)])
    return tmp_path / "mine" / "recipe.toml"


def test_a_recipe_that_can_run_here_has_no_failure(recipe: Path, tmp_path: Path) -> None:
    found = _doctor(tmp_path, str(recipe))
    assert found.exit_code == 0, found.output
    assert _lines(found, "seed") == ["ok   seed       ift 64, eft_eval 8, heldout 16"]
    assert _lines(found, "template") == ["ok   template   of the model"]
    assert "It fits." in _lines(found, "memory")[-1]


def test_what_will_not_work_is_named_with_its_remedy(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "model" / "chat_template.jinja").unlink()
    (tmp_path / "mine" / "seed" / "ift.jsonl").write_text(json.dumps({"prompt": "p"}) + "\n")
    found = _doctor(tmp_path, str(recipe), SELFREWARD_ENGINE="gpu")
    assert found.exit_code == 1
    assert _lines(found, "template")[0].endswith("has no chat template: add chat_template.jinja")
    assert _lines(found, "seed")[0].startswith("FAIL seed       data.ift: file ")
    assert _lines(found, "gpu") in (
        [],
        ["FAIL gpu        SELFREWARD_ENGINE=gpu, and there is no NVIDIA GPU: leave it out"],
    )


def test_a_judge_engine_that_does_not_answer_is_a_failure(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    found = _doctor(tmp_path, SELFREWARD_JUDGE_ENGINE_URL=url)
    assert found.exit_code == 1
    assert _lines(found, "judge")[0].startswith(f"FAIL judge      SELFREWARD_JUDGE_ENGINE_URL={url} does not answer: ")


@pytest.mark.parametrize(("path", "asked"), [("", "/v1"), ("/v1/", "/v1"), ("/v1beta/openai", "/v1beta/openai")])
def test_a_judge_engine_is_asked_where_the_judge_asks_it(tmp_path: Path, path: str, asked: str) -> None:
    paths: list[str] = []

    class Models(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Models) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        found = _doctor(tmp_path, SELFREWARD_JUDGE_ENGINE_URL=f"http://127.0.0.1:{server.server_port}{path}")
        server.shutdown()

    assert paths == [f"{asked}/models"]
    assert _lines(found, "judge")[0].startswith("ok   judge      HTTP 200 of ")
