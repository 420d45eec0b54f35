"""A real generator with a real engine under what could end it or make it serve something else (docs/security.md)."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from selfreward.client.aiohttp_transport import AiohttpTransport
from selfreward.store.artifacts import ArtifactStore
from tests.support.checkpoints import copy_of, publish
from tests.support.live_generator import Generator, announce_now, engine_core, running_generator
from tests.support.places import M0

# What most systems give a process.
DESCRIPTORS = 1024
CHAT = {"model": "policy", "messages": [{"role": "user", "content": "Use 7 3 12 to make 33 ."}], "max_tokens": 4}


@pytest.fixture(scope="module")
def generator(redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generator]:
    """A generator with few descriptors, whose limit cannot be raised."""
    folder = tmp_path_factory.mktemp("generator")
    with running_generator(redis_server, M0, folder, descriptors=DESCRIPTORS) as running:
        yield running


def test_idle_connections_and_a_probe_do_not_end_the_engine(generator: Generator) -> None:
    """With as many connections as descriptors the gateway could not reach its engine, and killed it as dead."""
    core, address = engine_core(generator), ("127.0.0.1", int(generator.url.rpartition(":")[2]))
    with ExitStack() as held:
        for _ in range(DESCRIPTORS + 80):
            held.enter_context(socket.create_connection(address, timeout=10))
        for _ in range(3):
            assert httpx.get(f"{generator.url}/readyz", timeout=30, trust_env=False).status_code == 200
            time.sleep(1.5)
        answer = httpx.post(f"{generator.url}/v1/chat/completions", json=CHAT, timeout=120, trust_env=False)
        assert answer.status_code == 200
    assert engine_core(generator) == core


def test_more_chats_than_fit_at_once_do_not_end_the_engine(generator: Generator) -> None:
    core = engine_core(generator)

    async def scenario() -> list[int]:
        transport = AiohttpTransport(700, proxies=False)
        async with httpx.AsyncClient(base_url=generator.url, timeout=500, transport=transport) as http:
            asked = (http.post("/v1/chat/completions", json=CHAT) for _ in range(700))
            answers = await asyncio.gather(*asked, return_exceptions=True)
        return [answer.status_code if isinstance(answer, httpx.Response) else 0 for answer in answers]

    statuses = asyncio.run(scenario())
    # Some are told to come again, or find no place for their connection.
    assert set(statuses) <= {200, 429, 503, 0}
    assert statuses.count(200) >= 100
    assert engine_core(generator) == core
    assert generator.ready()


def ask(generator: Generator, **body: object) -> httpx.Response:
    return httpx.post(f"{generator.url}/v1/chat/completions", json=CHAT | body, timeout=120, trust_env=False)


def test_no_grammar_ends_or_changes_the_engine(generator: Generator) -> None:
    core = engine_core(generator)
    # What the judge asks for, before and after.
    verdict = {
        "messages": [*CHAT["messages"], {"role": "assistant", "content": "Score:"}],  # type: ignore[misc]
        "continue_final_message": True,
        "add_generation_prompt": False,
        "structured_outputs": {"regex": " ?(0|1|2|3|4|5)"},
    }
    refused = [
        {"grammar": 'start: %json {"type": "array", "minItems": 1000000000}'},
        {"regex": "a?" * 8000},
        {"json": {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(300)}}},
        # It made vLLM take another library for the rest of its life.
        {"json": {"type": "object", "patternProperties": {"^a": {"type": "number", "multipleOf": 3}}}},
    ]
    for asked in (None, *refused, None):
        if asked is not None:
            answer = ask(generator, structured_outputs=asked)
            assert answer.status_code == 400, (asked, answer.text)
        for limits in ({**verdict}, {"structured_outputs": {"choice": ["yes", "no"]}}):
            answer = ask(generator, **limits)
            assert answer.status_code == 200, (asked, answer.text)
            text = answer.json()["choices"][0]["message"]["content"].strip()
            assert text in ("0", "1", "2", "3", "4", "5", "yes", "no")
    assert engine_core(generator) == core


def test_scoring_long_prompts_is_refused(generator: Generator) -> None:
    """It held the engine for seconds, and everybody with it."""
    body = {"model": "policy", "prompt": ["7 " * 400] * 200, "echo": True, "logprobs": 5, "max_tokens": 0}
    answer = httpx.post(f"{generator.url}/v1/completions", json=body, timeout=120, trust_env=False)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "echo")


def test_weights_that_changed_on_disk_are_not_served_by_the_next_engine(generator: Generator) -> None:
    """They were, under the old digest."""
    store = ArtifactStore(generator.artifacts)
    digest = publish(store, "security/good", copy_of(M0))
    generator.wait_for(announce_now(generator, "security/good", digest).label)
    weights = Path(generator.artifacts, "security/good/model.safetensors")
    good = weights.read_bytes()
    weights.write_bytes(good[:-100] + bytes(byte ^ 0x10 for byte in good[-100:]))

    os.kill(engine_core(generator), signal.SIGKILL)
    deadline = time.monotonic() + 120
    while "model.safetensors" not in str(reasons := generator.http.get("/readyz").json()["reasons"]):
        assert time.monotonic() < deadline, reasons
        time.sleep(0.1)
    assert generator.weights()["state"] == "restarting"

    weights.write_bytes(good)
    deadline = time.monotonic() + 200
    while not generator.ready():
        assert time.monotonic() < deadline
        time.sleep(0.5)
