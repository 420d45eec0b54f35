"""What hits the engine: bursts of seeded requests, and its death in the middle of work."""

import asyncio
import os
import re
import signal
import time
from pathlib import Path

import httpx

from selfreward.store.artifacts import ArtifactStore
from tests.support.checkpoints import copy_of, perturbed, publish
from tests.support.live_generator import Generator, announce_now, engine_core


def test_a_burst_of_seeded_requests_is_served(generator: Generator) -> None:
    """With chunked prefill this ended the CPU engine at once."""

    async def scenario() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=64)
        async with httpx.AsyncClient(base_url=generator.url, timeout=240, limits=limits) as http:
            return await asyncio.gather(*(http.post("/v1/chat/completions", json=body(n)) for n in range(300)))

    def body(number: int) -> dict[str, object]:
        chat = [{"role": "user", "content": f"Use {number % 50} 3 12 to make 33 . " * (1 + number % 9)}]
        sampling = {"n": 4, "seed": number, "temperature": 0.7, "top_p": 0.9, "max_tokens": 8}
        return {"model": "policy", "messages": chat, **sampling}

    replies = asyncio.run(scenario())
    assert {reply.status_code for reply in replies} == {200}
    assert all(len(reply.json()["choices"]) == 4 for reply in replies)
    assert generator.ready()


def test_a_dead_engine_is_reported_and_healed_and_its_requests_are_repeated(generator: Generator) -> None:
    label, restarts = generator.weights()["label"], restarts_of(generator)

    async def scenario() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=generator.url, timeout=240) as http:
            body = {"model": "policy", "messages": [{"role": "user", "content": "Use 7 3 12 to make 33 ."}]}
            long = {**body, "max_tokens": 450, "ignore_eos": True}
            pending = [asyncio.create_task(http.post("/v1/chat/completions", json=long)) for _ in range(16)]
            await asyncio.sleep(0.5)
            os.kill(engine_core(generator), signal.SIGKILL)
            await asyncio.to_thread(until_restarting, generator)
            assert not generator.ready()
            assert "restarting" in generator.http.get("/readyz").json()["reasons"][0]
            assert (await http.get("/healthz")).is_success
            # Asked while there is no engine: held back, then answered.
            pending.append(asyncio.create_task(http.post("/v1/chat/completions", json=body | {"max_tokens": 4})))
            return await asyncio.gather(*pending)

    assert {reply.status_code for reply in asyncio.run(scenario())} == {200}
    generator.wait_for(label)
    assert generator.ready()
    assert restarts_of(generator) == restarts + 1
    # vLLM would leave the dead one's sockets behind.
    (folder,) = generator.work_dir.glob("sockets-*/")
    assert any(path.is_socket() for path in folder.iterdir())


def test_an_engine_that_dies_in_a_swap_is_replaced_and_the_swap_done(generator: Generator, tiny_model: Path) -> None:
    """Its server leaves the swap's calls open, so waiting for their deadline would cost minutes."""
    restarts, core = restarts_of(generator), engine_core(generator)
    store = ArtifactStore(generator.artifacts)
    digest = publish(store, "robustness/next", copy_of(tiny_model, perturbed(seed=9)))
    os.kill(core, signal.SIGSTOP)
    announced = announce_now(generator, "robustness/next", digest)
    while generator.weights()["state"] != "swapping":
        time.sleep(0.05)
    os.kill(core, signal.SIGKILL)
    generator.wait_for(announced.label, seconds=120)
    assert generator.ready()
    assert restarts_of(generator) == restarts + 1


def until_restarting(generator: Generator) -> None:
    """Asking for readiness is what notices the loss. A first answer may only say that a control call failed."""
    deadline = time.monotonic() + 60
    while generator.weights()["state"] != "restarting":
        generator.ready()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def restarts_of(generator: Generator) -> float:
    page = generator.http.get("/metrics").text
    return float(re.findall(r"^selfreward_generator_engine_restarts_total (.*)$", page, re.M)[0])
