"""What the gateway costs: the same requests through it and directly to its vLLM child, in turns within one run.

Writes bench/results/gateway.json: completion tokens/s and median latency of both ways, for requests like those of
rollouts (n=4, 12 tokens, 64 concurrent) and for streaming, with the ratio of the two (1.0: the gateway costs nothing).
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from bench.services import MODEL, ROOT, drop_settings, engine_url
from selfreward.processes.child import free_port, start_child, stop_child
from selfreward.processes.redis import start_redis


def _body(index: int, stream: bool) -> dict[str, Any]:
    problem = f"Use {1 + index % 15} {1 + index * 7 % 15} {1 + index * 11 % 15} to make {1 + index % 99} ."
    return {
        "model": "policy",
        "messages": [{"role": "user", "content": problem}],
        "n": 1 if stream else 4,
        "max_tokens": 12,
        "ignore_eos": True,
        "temperature": 0.7,
        "stream": stream,
    }


async def load(url: str, requests: int, concurrency: int, stream: bool) -> tuple[float, list[float]]:
    """Completion tokens per second, and the latency of each request in seconds."""
    slots = asyncio.Semaphore(concurrency)
    latencies: list[float] = []

    async def send(index: int) -> int:
        async with slots:
            started = time.perf_counter()
            try:
                reply = await http.post("/v1/chat/completions", json=_body(index, stream))
            except httpx.ReadError:
                # vLLM's server resets a connection once in some thousand requests. The second try is in the latency.
                reply = await http.post("/v1/chat/completions", json=_body(index, stream))
            reply.raise_for_status()
            latencies.append(time.perf_counter() - started)
        return 12 if stream else int(reply.json()["usage"]["completion_tokens"])

    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits) as http:
        started = time.perf_counter()
        tokens = sum(await asyncio.gather(*(send(index) for index in range(requests))))
        return tokens / (time.perf_counter() - started), latencies


def measure(direct: str, gateway: str, rounds: int, requests: int) -> dict[str, Any]:
    """Measure both ways in turns, `rounds` times, after one unmeasured turn of each."""
    result: dict[str, Any] = {}
    for kind, stream in (("n4", False), ("stream", True)):
        rates: dict[str, list[float]] = {"direct": [], "gateway": []}
        medians: dict[str, list[float]] = {"direct": [], "gateway": []}
        for turn in range(rounds + 1):
            for name, url in (("direct", direct), ("gateway", gateway)):
                rate, latencies = asyncio.run(load(url, requests, 64, stream))
                if turn:
                    rates[name].append(rate)
                    medians[name].append(statistics.median(latencies))
                    print(f"{kind:<7}{name:<8}{rate:8.0f} tokens/s  p50 {medians[name][-1] * 1000:6.0f} ms")
        ratios = [gate / raw for gate, raw in zip(rates["gateway"], rates["direct"], strict=True)]
        result[kind] = {
            "tokens_per_second": {name: statistics.median(values) for name, values in rates.items()},
            "p50_seconds": {name: statistics.median(values) for name, values in medians.items()},
            "ratio_to_raw": statistics.median(ratios),
            "ratios": ratios,
        }
    return result


def main() -> None:
    """Start Redis and a generator, measure, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=400)
    arguments = parser.parse_args()
    drop_settings()

    # Start the services, and measure.
    with tempfile.TemporaryDirectory() as scratch:
        folder, port, redis_port = Path(scratch), free_port(), free_port()
        redis = start_redis(folder / "redis", redis_port)
        environment = {
            "SELFREWARD_PORT": str(port),
            "SELFREWARD_MODEL": str(MODEL),
            "SELFREWARD_WORK_DIR": scratch,
            "SELFREWARD_ARTIFACTS": f"{scratch}/artifacts",
            "SELFREWARD_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        }
        log = folder / "generator.log"
        generator = start_child([sys.executable, "-m", "services.generator"], log, environment)
        try:
            result = measure(engine_url(log), f"http://127.0.0.1:{port}", arguments.rounds, arguments.requests)
        finally:
            stop_child(generator)
            stop_child(redis)

    # Write the result.
    command = f"python -m bench.gateway --rounds {arguments.rounds} --requests {arguments.requests}"
    out = ROOT / "bench" / "results" / "gateway.json"
    out.write_text(json.dumps({"command": command, **result}, indent=1) + "\n")
    print(f"ratio to raw: n=4 {result['n4']['ratio_to_raw']:.3f}, stream {result['stream']['ratio_to_raw']:.3f}; {out}")


if __name__ == "__main__":
    main()
