"""How the engine is started, and that nothing of it outlives the gateway."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from selfreward.server.startup import StartRefused
from services.generator.engine import keeper
from services.generator.engine.node import check_later_node
from services.generator.engine.process import engine_command, engine_environment, model_threads, node_command
from services.generator.metrics import engine_families
from services.generator.settings import GeneratorSettings


def test_cpu_engine_never_splits_a_prefill_and_listens_on_loopback() -> None:
    mine = ["--dtype", "bfloat16", "--host", "0.0.0.0", "--port=8000"]  # noqa: S104 - must not be obeyed
    command = engine_command(GeneratorSettings(engine_args=mine), Path("/m"), 5)
    assert "--no-enable-chunked-prefill" in command
    assert command[command.index("--logits-processors") + 1].endswith("engine.nucleus:Nucleus")
    assert command[-9:] == [*mine, "--host", "127.0.0.1", "--port", "5"], "the last of each wins"
    assert "--trust-remote-code" not in command
    assert "--no-enable-chunked-prefill" not in engine_command(GeneratorSettings(engine="gpu"), Path("/m"), 5)
    assert "--logits-processors" not in engine_command(GeneratorSettings(engine="gpu"), Path("/m"), 5)
    others = GeneratorSettings(engine_args=["--logits-processors", "mine:Mine"])
    assert engine_command(others, Path("/m"), 5).count("--logits-processors") == 1


def test_nodes_of_an_engine_are_told_the_same_but_for_which_they_are() -> None:
    shared = {"engine": "gpu", "model": Path("/m"), "engine_nodes": 2, "engine_leader": "first"}
    settings = GeneratorSettings.model_validate({**shared, "engine_args": ["--tensor-parallel-size", "4"]})
    first = engine_command(settings, Path("/m"), 5)
    second = node_command(settings.model_copy(update={"engine_node_rank": 1}))
    assert first[first.index("--nnodes") :][:6] == ["--nnodes", "2", "--node-rank", "0", "--master-addr", "first"]
    assert first[3:5] == ["--model", "/m"]
    assert second[1:6] == ["-m", "vllm.entrypoints.cli.main", "serve", "/m", "--headless"]
    told, other = first[first.index("--served-model-name") : -4], second[second.index("--served-model-name") :]
    assert other == ["1" if value == "0" else value for value in told]
    assert "--worker-extension-cls" in other
    assert "--host" not in second
    assert "--nnodes" not in engine_command(GeneratorSettings(), Path("/m"), 5)


@pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed: on a second Python (make unit-other)")
def test_vllm_has_what_nodes_are_told() -> None:
    """Read in its source: importing it takes as long as starting it."""
    found = find_spec("vllm")
    assert found is not None
    assert found.origin is not None
    source = Path(found.origin).parent
    flags = (source / "engine" / "arg_utils.py").read_text()
    assert all(f'"{flag}"' in flags for flag in ("--nnodes", "--node-rank", "--master-addr"))
    assert '"--headless"' in (source / "entrypoints" / "launchers" / "cli_args.py").read_text()
    assert "__main__" in (source / "entrypoints" / "cli" / "main.py").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"engine_nodes": 2, "model": "/m"},
            "SELFREWARD_ENGINE_NODES=2 with SELFREWARD_ENGINE=cpu: engines over nodes",
        ),
        ({"engine_nodes": 2, "engine": "gpu"}, "SELFREWARD_ENGINE_NODES=2 without SELFREWARD_MODEL"),
        ({"engine_node_rank": 1}, "SELFREWARD_ENGINE_NODE_RANK=1 with SELFREWARD_ENGINE_NODES=1: ranks are 0 to 0"),
        ({"engine_nodes": 2, "engine": "gpu", "model": "/m"}, "SELFREWARD_ENGINE_NODE_RANK=0 is the node that serves"),
    ],
)
def test_nodes_that_cannot_start_alike_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(StartRefused, match=message):
        check_later_node(GeneratorSettings.model_validate(changes))


def test_engine_environment_has_no_secrets_of_ours() -> None:
    inherited = {"PATH": "/bin", "SELFREWARD_API_KEY": "secret", "VLLM_CPU_KVCACHE_SPACE": "3"}
    inherited |= {"AWS_SECRET_ACCESS_KEY": "secret"}
    environment = engine_environment(GeneratorSettings(engine_env={"A": "b"}), inherited, "sockets-1")
    assert not {"SELFREWARD_API_KEY", "AWS_SECRET_ACCESS_KEY"} & environment.keys()
    assert (environment["A"], environment["VLLM_CPU_KVCACHE_SPACE"], environment["PATH"]) == ("b", "3", "/bin")
    assert environment["VLLM_SERVER_DEV_MODE"] == "1"
    assert environment["VLLM_RPC_BASE_PATH"] == "sockets-1"
    on_gpu = engine_environment(GeneratorSettings(engine="gpu"), {}, "sockets-1")
    assert not {"OMP_NUM_THREADS", "VLLM_ENABLE_V1_MULTIPROCESSING", "TORCHDYNAMO_DISABLE"} & on_gpu.keys()
    own = engine_environment(GeneratorSettings(), {"OMP_NUM_THREADS": "7"}, "sockets-1")
    assert own["OMP_NUM_THREADS"] == "7"


def test_one_core_is_left_to_the_services() -> None:
    assert [model_threads(cores) for cores in (1, 2, 8)] == [1, 1, 7]


def test_only_the_engines_own_metrics_are_passed_on() -> None:
    page = "# HELP python_info x\npython_info 1\n# HELP vllm:n x\n# TYPE vllm:n gauge\nvllm:n 3\n"
    assert engine_families(page) == "# HELP vllm:n x\n# TYPE vllm:n gauge\nvllm:n 3\n"


def alive(marker: str) -> list[int]:
    """Processes whose command line holds `marker`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and marker.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_killed_gateway_takes_its_engine_along(tmp_path: Path, stubborn: bool) -> None:
    """A child and a grandchild, also such that ignore SIGTERM, end when the keeper's parent is killed."""
    marker = f"keeper-test-{os.getpid()}-{stubborn}"
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " if stubborn else ""
    sleep = f"{ignore}import time; time.sleep(600) # {marker}"
    child = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {sleep!r}]); {sleep}"
    command = [sys.executable, str(Path(keeper.__file__)), "0.3", sys.executable, "-c", child]
    parent = (
        "import subprocess, time\n"
        f"p = subprocess.Popen({command!r}, stdin=subprocess.PIPE, start_new_session=True)\n"
        "time.sleep(600)\n"
    )
    gateway = subprocess.Popen([sys.executable, "-c", parent])
    deadline = time.monotonic() + 30
    while len(alive(marker)) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(alive(marker)) >= 4  # parent, keeper, child, grandchild
    time.sleep(0.3)
    gateway.send_signal(signal.SIGKILL)
    gateway.wait()
    deadline = time.monotonic() + 10
    while alive(marker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive(marker) == []


def test_a_command_that_ends_takes_what_it_started_along() -> None:
    marker = f"keeper-end-{os.getpid()}"
    orphan = f"import time; time.sleep(600) # {marker}"
    child = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {orphan!r}])"
    command = [sys.executable, str(Path(keeper.__file__)), "0.3", sys.executable, "-c", child]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as process:
        process.wait(timeout=30)
    deadline = time.monotonic() + 5
    while alive(marker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive(marker) == []


@pytest.mark.parametrize(
    ("engine", "served", "fast", "expected"),
    [
        ("cpu", "bfloat16", True, "bfloat16"),
        ("cpu", "float16", True, "bfloat16"),
        ("cpu", "bfloat16", False, "float32"),
        ("cpu", "float32", True, "float32"),
        ("gpu", "bfloat16", False, "auto"),
    ],
)
def test_the_dtype_follows_from_model_and_machine(
    engine: str, served: str, fast: bool, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.generator.engine.process.computes_bf16", lambda: fast)
    (tmp_path / "config.json").write_text(json.dumps({"dtype": served}))
    settings = GeneratorSettings.model_validate({"engine": engine})
    command = engine_command(settings, tmp_path, 5)
    assert command[command.index("--dtype") + 1] == expected
    chosen = engine_command(settings.model_copy(update={"engine_dtype": "half"}), tmp_path, 5)
    assert chosen[chosen.index("--dtype") + 1] == "half"
