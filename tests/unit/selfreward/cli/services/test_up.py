"""`selfreward up` before it starts anything, and how other commands find a stack."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from selfreward.processes.child import free_port
from selfreward.processes.stack_file import StackFile


def command(*arguments: str, without: tuple[str, ...] = (), **environment: str) -> subprocess.CompletedProcess[str]:
    shell = {name: value for name, value in os.environ.items() if name not in without}
    return subprocess.run(
        [sys.executable, "-m", "selfreward", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**shell, **environment},
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--folder", "/proc/x"], "/proc/x: No such file or directory; give another path\n"),
        (["--model", "/nope"], "--model /nope has no config.json: give a checkpoint folder in Hugging Face layout\n"),
        (
            ["--port", "engine=1"],
            "--port engine=1: 'engine' is none of redis, generator, judge, orchestrator, trainer\n",
        ),
    ],
)
def test_what_keeps_it_from_starting_is_one_line_with_the_remedy(arguments: list[str], said: str) -> None:
    done = command("up", *arguments)
    assert (done.returncode, done.stderr) == (2, said)


def test_a_port_that_is_taken_is_named_whether_an_option_or_the_environment_asks_for_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        port = foreign.getsockname()[1]
        by_option = command("up", "--folder", str(tmp_path), "--port", f"redis={port}")
        by_variable = command("up", "--folder", str(tmp_path), SELFREWARD_PORTS=f"judge={free_port()} redis={port}")
    said = f"--port redis={port}: another program has the port; give another, or leave it out\n"
    assert (by_option.returncode, by_option.stderr) == (by_variable.returncode, by_variable.stderr) == (2, said)
    assert list(tmp_path.iterdir()) == []


def test_other_commands_find_the_stack_that_runs_unless_an_address_is_set(tmp_path: Path) -> None:
    file = StackFile(tmp_path)
    file.write({"orchestrator": f"http://127.0.0.1:{free_port()}"})
    url = f"http://127.0.0.1:{free_port()}"
    unset = command("status", without=("SELFREWARD_ORCHESTRATOR_URL",), SELFREWARD_FOLDER=str(tmp_path))
    named = command("status", SELFREWARD_ORCHESTRATOR_URL=url, SELFREWARD_FOLDER=str(tmp_path))
    written = (tmp_path / "stack.json").read_text()
    file.close()
    assert unset.stderr.split(": ")[0].removeprefix("no orchestrator answers at ") in written
    assert named.stderr.startswith(f"no orchestrator answers at {url}: ")


def test_a_second_stack_on_a_folder_is_refused(tmp_path: Path) -> None:
    file = StackFile(tmp_path)
    file.write({"orchestrator": "http://127.0.0.1:9002"})
    done = command("up", "--folder", str(tmp_path))
    file.close()
    assert done.returncode == 2
    assert done.stderr == (
        f"{tmp_path} is in use by process {os.getpid()}, whose orchestrator is at http://127.0.0.1:9002: stop that "
        "one, or give another --folder\n"
    )
