"""The ports of a local stack, and the lock on its folder."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from selfreward.processes import stack
from selfreward.processes.child import free_port
from selfreward.processes.stack import choose_ports
from selfreward.processes.stack_file import StackError, StackFile, running_urls

URLS = {"orchestrator": "http://127.0.0.1:9002"}
HOLDER = """
import sys
from pathlib import Path
from selfreward.processes.stack_file import StackFile
file = StackFile(Path(sys.argv[1]))
file.write({"orchestrator": "http://127.0.0.1:9002"})
print("held", flush=True)
sys.stdin.read()
"""


def test_a_port_that_is_asked_for_is_taken_and_the_others_are_free_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        taken, own, asked = foreign.getsockname()[1], free_port(), free_port()
        monkeypatch.setattr(stack, "PORTS", {"redis": taken, "judge": own, "trainer": asked})
        chosen = choose_ports({"redis": asked})
    assert chosen["redis"] == asked
    assert chosen["judge"] == own
    assert chosen["trainer"] not in (taken, own, asked)


@pytest.mark.parametrize("name", ["judge", "engine"])
def test_a_port_of_another_program_and_an_unknown_part_are_refused(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        port = foreign.getsockname()[1]
        with pytest.raises(StackError, match=f"--port {name}={port}: "):
            choose_ports({name: port})


def test_one_port_for_two_parts_is_refused() -> None:
    port = free_port()
    with pytest.raises(StackError, match="give each its own port"):
        choose_ports({"judge": port, "redis": port})


def test_two_stacks_on_one_folder_are_refused_and_the_other_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            assert running_urls(tmp_path) == URLS
            with pytest.raises(StackError, match=rf"in use by process {holder.pid}, .* http://127.0.0.1:9002: stop"):
                StackFile(tmp_path)
        finally:
            holder.kill()
    # It was killed, so its file is still there.
    assert (tmp_path / "stack.json").read_text()
    assert running_urls(tmp_path) == {}
    StackFile(tmp_path).close()


def test_the_addresses_of_a_stack_that_has_stopped_are_gone(tmp_path: Path) -> None:
    file = StackFile(tmp_path / "new")
    file.write(URLS)
    assert running_urls(tmp_path / "new") == URLS
    file.close()
    assert running_urls(tmp_path / "new") == {}
    assert running_urls(tmp_path / "none") == {}
