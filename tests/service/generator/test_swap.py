"""Weights change under load: no request lost, no sample mixed, and what is served is what was announced."""

import asyncio
import json
import os
import re
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from selfreward.client.generator import VERSION_HEADER
from selfreward.redis.announcements import announce
from selfreward.redis.connection import connect
from selfreward.store.artifacts import ArtifactStore
from tests.support.checkpoints import Greedy, copy_of, greedy, perturbed, publish
from tests.support.live_generator import Generator, engine_core

PROMPTS = [
    "Use 7 3 12 to make 33 .",
    "Use 5 9 20 to make 25 .",
    "Use 2 4 6 to make 14 .",
    "Use 11 8 3 to make 27 .",
    "Use 4 9 6 to make 30 .",
    "Use 10 5 2 to make 48 .",
]
TOKENS = 32
SWAPS = 20
CLIENTS = 6


@dataclass(frozen=True)
class Policies:
    """Two published checkpoints, and the greedy answer of each to each prompt that has a clear one."""

    artifacts: tuple[str, str]
    digests: tuple[str, str]
    expected: dict[str, tuple[Greedy, Greedy]]


@pytest.fixture(scope="module")
def policies(generator: Generator, tiny_model: Path) -> Policies:
    store = ArtifactStore(generator.artifacts)
    digests = (
        publish(store, "swap/a", copy_of(tiny_model)),
        publish(store, "swap/b", copy_of(tiny_model, perturbed(seed=1))),
    )
    a, b = (greedy(store.fetch(name), PROMPTS, TOKENS) for name in ("swap/a", "swap/b"))
    expected = {p: (x, y) for p, x, y in zip(PROMPTS, a, b, strict=True) if x.sure and y.sure and x.text != y.text}
    assert len(expected) >= 3
    return Policies(("swap/a", "swap/b"), digests, expected)


def body(prompt: str, stream: bool, tokens: int = TOKENS) -> dict[str, object]:
    chat = [{"role": "user", "content": prompt}]
    sampling = {"temperature": 0, "max_tokens": tokens, "ignore_eos": True}
    return {"model": "policy", "messages": chat, "stream": stream, "return_token_ids": True, **sampling}


async def ask(http: httpx.AsyncClient, prompt: str, stream: bool) -> tuple[str, list[int]]:
    """Version and token ids of one answer."""
    if not stream:
        reply = (await http.post("/v1/chat/completions", json=body(prompt, stream=False))).raise_for_status()
        return reply.headers[VERSION_HEADER], reply.json()["choices"][0]["token_ids"]
    ids: list[int] = []
    async with http.stream("POST", "/v1/chat/completions", json=body(prompt, stream=True)) as reply:
        reply.raise_for_status()
        lines = [line async for line in reply.aiter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    for line in lines[:-1]:
        for choice in json.loads(line.removeprefix("data: "))["choices"]:
            ids += choice.get("token_ids") or []
    return reply.headers[VERSION_HEADER], ids


def test_twenty_swaps_under_load_lose_nothing_and_mix_nothing(generator: Generator, policies: Policies) -> None:
    prompts = list(policies.expected)

    async def scenario() -> list[tuple[str, str, list[int]]]:
        redis, stopped = connect(generator.redis_url), asyncio.Event()
        answers: list[tuple[str, str, list[int]]] = []

        async def client(number: int, http: httpx.AsyncClient) -> None:
            turn = number
            while not stopped.is_set():
                prompt = prompts[turn % len(prompts)]
                answers.append((prompt, *await ask(http, prompt, stream=number % 2 == 0)))
                turn += 1

        async with httpx.AsyncClient(base_url=generator.url, timeout=120) as http:
            labels = [
                (await announce(redis, artifact, digest)).label
                for artifact, digest in zip(policies.artifacts, policies.digests, strict=True)
            ]
            await asyncio.to_thread(generator.wait_for, labels[1])
            before = generator.weights()["swaps"]
            clients = [asyncio.create_task(client(number, http)) for number in range(CLIENTS)]
            for turn in range(SWAPS):
                which = turn % 2
                await announce(redis, policies.artifacts[which], policies.digests[which])
                await asyncio.to_thread(generator.wait_for, labels[which])
                # After each swap the engine answers as a fresh one on these weights would.
                for prompt in prompts[:2]:
                    assert await ask(http, prompt, stream=False) == (
                        labels[which],
                        policies.expected[prompt][which].token_ids,
                    )
            stopped.set()
            await asyncio.gather(*clients)
            assert generator.weights()["swaps"] == before + SWAPS
            for prompt, label, ids in answers:
                assert ids == policies.expected[prompt][labels.index(label)].token_ids, (prompt, label)
        await redis.aclose()
        return answers

    answers = asyncio.run(scenario())
    by_version = Counter(label for _, label, _ in answers)
    assert len(by_version) == 2
    assert min(by_version.values()) >= SWAPS // 2


def test_requests_that_outlast_the_wait_are_aborted_and_repeated(generator: Generator, policies: Policies) -> None:
    """The engine is held still in the middle of its answers for longer than the swap waits (2.5 s in the fixture)."""
    prompt, tokens, requests = next(iter(policies.expected)), 440, 48
    core = engine_core(generator)

    async def scenario() -> tuple[dict[str, int], list[httpx.Response]]:
        redis, labels = connect(generator.redis_url), {}
        new = 0 if generator.weights()["artifact"] == policies.artifacts[1] else 1
        async with httpx.AsyncClient(base_url=generator.url, timeout=240) as http:
            long = body(prompt, stream=False, tokens=tokens)
            pending = [asyncio.create_task(http.post("/v1/chat/completions", json=long)) for _ in range(requests)]
            await asyncio.to_thread(until_inflight, generator, requests // 4)
            os.kill(core, signal.SIGSTOP)
            try:
                labels[generator.weights()["label"]] = 1 - new
                label = (await announce(redis, policies.artifacts[new], policies.digests[new])).label
                labels[label] = new
                await asyncio.to_thread(until_aborted, generator, before + 1)
            finally:
                os.kill(core, signal.SIGCONT)
            await asyncio.to_thread(generator.wait_for, label)
            replies = await asyncio.gather(*pending)
        await redis.aclose()
        return labels, replies

    before = aborted(generator)
    labels, replies = asyncio.run(scenario())
    for reply in replies:
        assert reply.status_code == 200, reply.text
        which = labels[reply.headers[VERSION_HEADER]]
        for choice in reply.json()["choices"]:
            assert choice["finish_reason"] == "length"
            assert choice["token_ids"][:TOKENS] == policies.expected[prompt][which].token_ids


def until_aborted(generator: Generator, requests: float) -> None:
    """Return once so many requests have been repeated because a swap aborted them."""
    deadline = time.monotonic() + 60
    while aborted(generator) < requests:
        assert time.monotonic() < deadline, generator.weights()
        time.sleep(0.05)


def until_inflight(generator: Generator, requests: int) -> None:
    """Return once so many requests are with the engine at the same time."""
    deadline, found = time.monotonic() + 60, 0.0
    while found < requests:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
        page = generator.http.get("/metrics").text
        found = sum(map(float, re.findall(r"^selfreward_generator_inflight_requests\{.*\} (.*)$", page, re.M)))


def aborted(generator: Generator) -> float:
    """Requests that the gateway repeated because a swap had aborted them."""
    page = generator.http.get("/metrics").text
    found = re.findall(r'^selfreward_generator_repeated_requests_total\{cause="abort"\} (.*)$', page, re.M)
    return float(found[0]) if found else 0.0
