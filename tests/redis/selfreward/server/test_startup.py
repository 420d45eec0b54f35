"""A service that runs has taken its key from a file, and logs it nowhere."""

import sys
import time
from pathlib import Path

import httpx
import pytest

from selfreward.processes.child import free_port, start_child, stop_child
from selfreward.server.keys import new_key


@pytest.mark.parametrize(
    ("module", "path"),
    [("services.generator", "/v1/models"), ("services.judge", "/v1/rubrics"), ("orchestrator", "/v1/runs")],
)
def test_a_running_service_takes_its_key_from_a_file_and_logs_none(
    module: str, path: str, redis_url: str, tmp_path: Path
) -> None:
    right, wrong, port, log = new_key(), new_key(), free_port(), tmp_path / "log"
    (tmp_path / "selfreward_api_key").write_text(right)
    settings = {"REDIS_URL": redis_url, "ARTIFACTS": str(tmp_path / "artifacts"), "WORK_DIR": str(tmp_path / "work")}
    settings |= {"SECRETS_DIR": str(tmp_path), "PORT": str(port), "LOG_LEVEL": "debug"}
    environment = {f"SELFREWARD_{name}": value for name, value in settings.items()}
    process = start_child([sys.executable, "-m", module], log, environment)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as http:
            deadline = time.monotonic() + 100
            while not answers(http):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            replies = [http.get(path, headers={"Authorization": f"Bearer {key}"}) for key in (right, wrong)]
    finally:
        stop_child(process)
    assert [reply.status_code for reply in replies] == [200, 401]
    said = "".join(f"{reply.headers} {reply.text}" for reply in replies) + log.read_text()
    assert '"level": "DEBUG"' in said
    assert right not in said
    assert wrong not in said


def answers(http: httpx.Client) -> bool:
    """Whether the service listens."""
    try:
        return http.get("/healthz").is_success
    except httpx.TransportError:
        return False
