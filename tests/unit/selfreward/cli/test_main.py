"""The command line: what it prints, and errors that a user can act on."""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from selfreward.cli import main as cli
from selfreward.client.http import ServiceError
from selfreward.client.orchestrator import OrchestratorClient
from selfreward.estimate.devices import GPUS
from selfreward.loop.load import load_recipe
from selfreward.server.keys import SCOPES
from selfreward.store.artifacts import ArtifactStore

RECIPE = "recipes/countdown.toml"


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "selfreward", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def test_dry_run_prints_the_resolved_recipe_and_needs_no_service(tmp_path: Path) -> None:
    (tmp_path / "ift.jsonl").write_text("")
    arguments = ["run", RECIPE, "sampling.n=8", "--model", "my/model", "--seed-data", str(tmp_path), "--dry-run"]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    resolved = json.loads(result.output)
    assert (resolved["sampling"]["n"], resolved["model"]) == (8, "my/model")
    assert resolved["data"]["ift"] == str(tmp_path / "ift.jsonl")
    assert resolved["dpo"]["beta"] == 0.1


def test_relative_paths_that_exist_here_are_made_absolute_and_others_left_to_the_orchestrator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Path(RECIPE).resolve()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ift.jsonl").write_text("")
    arguments = ["run", str(recipe), "model=.", "data.ift=ift.jsonl", "data.heldout=elsewhere.jsonl", "--dry-run"]
    resolved = json.loads(CliRunner().invoke(cli.app, arguments).output)
    assert (resolved["model"], resolved["data"]["ift"]) == (str(tmp_path), str(tmp_path / "ift.jsonl"))
    assert resolved["data"]["heldout"] == "elsewhere.jsonl"


@pytest.mark.parametrize(("name", "what"), [("none", "is not a folder: give one with"), (".", "has none of")])
def test_a_seed_data_folder_that_is_missing_or_empty_is_named(tmp_path: Path, name: str, what: str) -> None:
    folder = tmp_path / name
    ran = CliRunner().invoke(cli.app, ["run", RECIPE, "--seed-data", str(folder), "--dry-run"])
    assert ran.exit_code == 2
    assert (
        ran.stderr
        == f"--seed-data {folder} {what} ift.jsonl, eft.jsonl, eft_eval.jsonl, prompts.jsonl, heldout.jsonl\n"
    )


@pytest.mark.parametrize("path", sorted(Path("recipes").glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_recipes_run_dry(path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["run", str(path), "--dry-run"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["name"] == path.stem


def test_a_wrong_recipe_key_ends_with_its_name_and_no_traceback() -> None:
    done = command("run", RECIPE, "sampling.temprature=1", "--dry-run")
    assert done.returncode == 2
    assert "sampling.temprature = 1: unknown key" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_an_orchestrator_the_remedy_is_named() -> None:
    done = command("status", SELFREWARD_ORCHESTRATOR_URL="http://127.0.0.1:9")
    assert done.returncode == 2
    assert "start one with `make up`" in done.stderr


def test_a_setting_that_is_no_address_is_named() -> None:
    done = command("status", SELFREWARD_ORCHESTRATOR_URL="127.0.0.1:8002")
    assert done.returncode == 2
    assert done.stderr.startswith("SELFREWARD_ORCHESTRATOR_URL: Value error, is no address that begins with http://")
    assert "Traceback" not in done.stderr


def test_an_export_into_an_unknown_form_is_refused_before_anything_is_asked_for() -> None:
    done = command("export", "one", "--out", "pairs.csv", SELFREWARD_ORCHESTRATOR_URL="http://127.0.0.1:9")
    assert done.returncode == 2
    assert "choose .jsonl or .parquet" in done.stderr


@pytest.mark.parametrize("name", sorted(get_command(cli.app).commands))  # type: ignore[attr-defined]
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(cli.app, [name, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_events_continue_after_a_cut_connection() -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["last-event-id"])
        if len(asked) == 1:
            body = 'id: 1-0\ndata: {"stage": "M1", "phase": "train", "done": 1, "total": 2}\n\n'
        else:
            body = ': keep-alive\n\nid: 2-0\ndata: {"state": "done", "message": ""}\n\n'
        return httpx.Response(200, text=body, headers={"content-type": "text/event-stream"})

    client = OrchestratorClient("http://x", transport=httpx.MockTransport(handler))
    events = list(client.events("r"))
    assert asked == ["0", "1-0"]
    assert [event.get("state") for event in events] == [None, "done"]


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (422, '{"error": {"message": "data.ift row 3: response is missing"}}', "data.ift row 3: response is missing"),
        (502, "<h1>Bad Gateway</h1>", "<h1>Bad Gateway</h1>"),
        (502, '["no upstream"]', '["no upstream"]'),
    ],
)
def test_a_service_error_carries_the_message_of_whoever_answered(status: int, body: str, message: str) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, text=body))

    with pytest.raises(ServiceError) as refused:
        OrchestratorClient("http://x", transport=transport).runs()

    assert str(refused.value) == f"HTTP {status}: {message}"


def _loaded_by(*arguments: str) -> set[str]:
    """Top-level modules that a command has loaded when it ends."""
    source = (
        "import sys\nfrom selfreward.cli.main import app\n"
        f"try:\n    app({list(arguments)!r})\nexcept SystemExit:\n    pass\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=True)
    return set(ended.stderr.split())


def test_help_loads_nothing_heavy() -> None:
    heavy = {"numpy", "matplotlib", "sklearn", "pyarrow", "torch", "httpx", "redis", "fsspec", "aiohttp"}
    assert "typer" in _loaded_by("--help")
    assert _loaded_by("--help") & {*heavy, "pydantic"} == set()
    assert _loaded_by("judge-eval", "--help") & heavy == set()


@pytest.mark.parametrize("package", ["numpy", "matplotlib", "sklearn"])
def test_a_missing_extra_is_one_line_with_the_remedy(package: str, tmp_path: Path) -> None:
    (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError(name={package!r})")
    done = command("compare", "one", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == (
        f"{package} is missing: pip install 'selfreward-loop[evaluation]', or `make install` in a checkout\n"
    )


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfreward.cli.runs.control.resolve", lambda *_: 1 / 0)
    assert isinstance(CliRunner().invoke(cli.app, ["run", RECIPE, "--dry-run"]).exception, ZeroDivisionError)


def test_an_audit_ends_with_1_for_violations_and_with_2_for_an_unknown_run(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    recipe = load_recipe(Path(RECIPE), environment={}).model_dump(mode="json")
    record = {"recipe": recipe, "state": "running", "journal": [], "models": []}
    store.write_json("runs/one/run.json", record)
    clean = CliRunner().invoke(cli.app, ["audit", "one", "--artifacts", str(tmp_path)])
    assert (clean.exit_code, clean.output) == (0, "run one: 0 violations\n")

    store.write_json("runs/one/run.json", {**record, "state": "done"})
    found = CliRunner().invoke(cli.app, ["audit", "one", "--artifacts", str(tmp_path)])
    assert found.exit_code == 1
    assert found.output.splitlines()[0].startswith("journal: run.json: entry 0 of 0 is not the plan's")
    unknown = CliRunner().invoke(cli.app, ["audit", "none", "--artifacts", str(tmp_path)])
    assert unknown.exit_code == 2
    assert f"no run 'none' below {tmp_path}" in unknown.stderr


def test_services_that_are_not_installed_are_not_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    ran = CliRunner().invoke(cli.app, ["up", "--folder", str(tmp_path)])
    assert ran.exit_code == 2
    assert "run `selfreward up` in a checkout" in " ".join(ran.stderr.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("old", "new"), [("evaluation", "report RUN"), ("orchestrator.audit", "audit RUN")])
def test_the_old_line_answers_with_the_new_one(old: str, new: str) -> None:
    done = subprocess.run([sys.executable, "-m", old, "one"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"python -m selfreward {new}" in done.stderr


def test_help_names_all_scopes_and_devices() -> None:
    wide = {"COLUMNS": "200"}
    keys = CliRunner().invoke(cli.app, ["keys", "new", "--help"], env=wide).output
    plan = CliRunner().invoke(cli.app, ["plan", "--help"], env=wide).output
    assert ", ".join(SCOPES) in keys
    assert ", ".join(GPUS) in plan


def test_the_version_is_the_packages() -> None:
    assert CliRunner().invoke(cli.app, ["--version"]).output.strip() == version("selfreward-loop")


def test_shells_can_complete_commands() -> None:
    asked = {"_SELFREWARD_COMPLETE": "complete_bash", "COMP_WORDS": "selfreward rep", "COMP_CWORD": "1"}
    done = CliRunner().invoke(cli.app, [], prog_name="selfreward", env=asked)
    assert done.output.split() == ["report"]


@pytest.mark.parametrize("service", ["services.judge", "services.generator", "services.trainer", "orchestrator"])
def test_a_service_that_is_asked_for_help_does_not_start(service: str) -> None:
    line = [sys.executable, "-m", service]
    shown = subprocess.run([*line, "--help"], capture_output=True, text=True, timeout=60)
    assert (shown.returncode, "SELFREWARD_REDIS_URL" in shown.stdout) == (0, True)
    refused = subprocess.run([*line, "--prot", "1"], capture_output=True, text=True, timeout=60)
    assert (refused.returncode, "unrecognized arguments: --prot" in refused.stderr) == (2, True)


def test_a_name_that_is_none_of_an_artifact_is_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.app, ["report", "../up", "--artifacts", str(tmp_path)])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("artifact name 'runs/../up/run.json' is not allowed: ")


def _orchestrator_says(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=answer))
    client = OrchestratorClient("http://x", transport=transport)
    monkeypatch.setattr("selfreward.cli.runs.control.orchestrator", lambda: client)


def test_a_runs_status_fits_one_screen_and_all_of_it_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe(Path(RECIPE), environment={}).model_dump(mode="json")
    journal = [{"stage": "M1", "phase": "train", "seconds": 60.0, "finished_at": "t"}] * 2
    alarm = {"stage": "M2", "watchdog": "ties", "message": "many ties"}
    run = {"run": "one", "state": "failed", "stage": "M2", "phase": "train", "message": "no GPU\nTraceback ..."}
    run |= {"recipe": recipe, "models": [{"name": "M1", "policy_version": "policy@1"}], "journal": journal}  # type: ignore[dict-item]
    _orchestrator_says(monkeypatch, {**run, "alarms": [alarm] * 30, "created_at": "2026-01-01T00:00:00.000Z"})
    lines = CliRunner().invoke(cli.app, ["status", "one"]).output.splitlines()
    assert len(lines) <= 20
    assert "state    failed, M2 train" in lines
    assert "message  no GPU" in lines
    assert "time     2:00 in 2 finished phases, since 2026-01-01T00:00:00.000Z" in lines
    assert "         and 25 earlier ones: --json" in lines
    assert lines[-1] == "go on    selfreward resume one"
    assert json.loads(CliRunner().invoke(cli.app, ["status", "one", "--json"]).output)["recipe"] == recipe


def test_the_status_of_many_runs_fits_one_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"run": f"run-{number}", "state": "failed", "message": "x" * 900} for number in range(100)]
    _orchestrator_says(monkeypatch, {"data": rows})
    shown = CliRunner().invoke(cli.app, ["status", "--most", "7"]).output.splitlines()
    assert len(shown) <= 24
    assert shown[-1] == "93 older runs: --most 100"
    assert len(json.loads(CliRunner().invoke(cli.app, ["status", "--json"]).output)) == 100
