"""What the judge costs: the same votes through it and directly from its vLLM, in turns within one run.

Writes bench/results/judge.json:
- `throughput`: votes/s of a batch with 64 items in flight and k=3 votes each (ratio_to_raw 1.0: no cost);
- `latency`: one item at a time, sent both ways with the same seed, so that both sample the same words;
- `gain`: votes/s of one request for k votes and of the prefix cache, compared with k requests without it.

The judge talks to vLLM directly, and its result cache is off. The raw client is aiohttp, the fastest available.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from bench.services import MODEL, ROOT, drop_settings, engine_url, until_ready
from selfreward.processes.child import free_port, start_child, stop_child
from selfreward.processes.redis import start_redis
from services.judge.verdicts.sampling import item_seeds

VOTES = 3
IN_FLIGHT = 64
RUBRIC = "countdown"


def items(count: int) -> list[dict[str, Any]]:
    """Right and wrong answers to Countdown problems, all different, so that the prefix cache holds none of them."""
    answers = []
    for index in range(count):
        a, b, c = (1 + index // 15**place % 15 for place in range(3))
        response = f"{a} * {b} = {a * b} ; {a * b} + {c} = {a * b + c + index % 2}"
        answers.append({"id": str(index), "prompt": f"Use {a} {b} {c} to make {a * b + c} .", "response": response})
    return answers


class Bench:
    """The addresses of judge and engine, and `bodies`: the request that the judge sends to the engine for each item."""

    def __init__(self, http: aiohttp.ClientSession, judge: str, engine: str) -> None:
        self.http = http
        self.judge = judge
        self.engine = engine
        self.bodies: list[dict[str, Any]] = []

    async def post(self, url: str, body: dict[str, Any]) -> Any:
        """Send a request and return the parsed answer. Raises RuntimeError unless its status is 200."""
        async with self.http.post(url, json=body) as reply:
            content = await reply.read()
            if reply.status != 200:
                raise RuntimeError(f"{url} answered {reply.status}: {content[:500]!r}")
            return json.loads(content)

    async def fill(self, batch: Sequence[dict[str, Any]]) -> None:
        """Let the judge fill its prompts, letter for letter as it sends them, and add its rubric's sampling."""
        filled = await self.post(f"{self.judge}/v1/rubrics/{RUBRIC}/prompt", {"items": batch})
        async with self.http.get(f"{self.judge}/v1/rubrics/{RUBRIC}") as reply:
            rubric_sampling = (await reply.json())["sampling"]
        # The rubric's other sampling settings are for the judge, which does not send them to the engine.
        sampling = {name: rubric_sampling[name] for name in ("temperature", "top_p", "max_tokens")}
        self.bodies = [
            {"model": "policy", "messages": messages, "n": VOTES, **sampling} for messages in filled["messages"]
        ]

    async def raw(self, bodies: Sequence[dict[str, Any]], in_flight: int = IN_FLIGHT) -> float:
        """Send the requests to the engine. Returns the seconds that it takes for all of them."""
        slots = asyncio.Semaphore(in_flight)

        async def send(body: dict[str, Any]) -> None:
            async with slots:
                await self.post(f"{self.engine}/v1/chat/completions", body)

        started = time.perf_counter()
        await asyncio.gather(*map(send, bodies))
        return time.perf_counter() - started

    async def judged(self, batch: Sequence[dict[str, Any]], seed: int | None = None) -> float:
        """Send the items to the judge in one request. Returns the seconds that it takes."""
        body = {"rubric": RUBRIC, "items": batch, "votes": VOTES, **({} if seed is None else {"seed": seed})}
        started = time.perf_counter()
        answer = await self.post(f"{self.judge}/v1/judge", body)
        seconds = time.perf_counter() - started
        if any(vote["status"] == "error" for judgment in answer["data"] for vote in judgment["votes"]):
            raise RuntimeError("the engine failed to cast some votes: the rates would not be comparable")
        return seconds


async def throughput(bench: Bench, batch: Sequence[dict[str, Any]], rounds: int) -> dict[str, Any]:
    """Measure both ways in turns, `rounds` times, after one unmeasured turn of each."""
    rates: dict[str, list[float]] = {"raw": [], "judge": []}
    ways: dict[str, Callable[[], Awaitable[float]]] = {
        "raw": lambda: bench.raw(bench.bodies),
        "judge": lambda: bench.judged(batch),
    }
    for turn in range(rounds + 1):
        for name, way in ways.items():
            rate = VOTES * len(batch) / await way()
            if turn:
                rates[name].append(rate)
                print(f"{name:<8}{rate:8.0f} judgments/s")
    ratios = [judge / raw for judge, raw in zip(rates["judge"], rates["raw"], strict=True)]
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {"judgments_per_second": medians, "ratio_to_raw": statistics.median(ratios), "ratios": ratios}


async def latency(bench: Bench, batch: Sequence[dict[str, Any]], pairs: int) -> dict[str, Any]:
    """Send each item both ways with the same seed, in changing order, while nothing else runs."""
    latencies: dict[str, list[float]] = {"raw": [], "judge": []}
    for turn in range(-10, pairs):  # ten unmeasured pairs first
        index, seed = turn % len(batch), turn + 10
        item = batch[index]
        (own_seed,) = item_seeds(seed, [item.get("id")])
        for name in ("raw", "judge") if turn % 2 else ("judge", "raw"):
            if name == "raw":
                seconds = await bench.raw([{**bench.bodies[index], "seed": own_seed}])
            else:
                seconds = await bench.judged([item], seed)
            if turn >= 0:
                latencies[name].append(seconds)
    added = [judge - raw for judge, raw in zip(latencies["judge"], latencies["raw"], strict=True)]
    quarters = statistics.quantiles(added, n=4)
    return {
        "p50_ms": {name: statistics.median(values) * 1000 for name, values in latencies.items()},
        "added_p50_ms": quarters[1] * 1000,
        "added_p25_ms": quarters[0] * 1000,
        "added_p75_ms": quarters[2] * 1000,
        "pairs": pairs,
    }


async def gain(bench: Bench, rounds: int) -> dict[str, Any]:
    """Votes/s of the engine for four ways to request k votes, in turns, with equally many sequences in flight."""

    def bodies(separate: bool, cached: bool) -> list[dict[str, Any]]:
        requests = [{**body, "n": 1} for body in bench.bodies for _ in range(VOTES)] if separate else bench.bodies
        return requests if cached else [{**body, "cache_salt": uuid.uuid4().hex} for body in requests]

    ways = {
        "separate_requests_no_prefix_cache": (True, False),
        "separate_requests": (True, True),
        "one_request_no_prefix_cache": (False, False),
        "one_request": (False, True),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, (separate, cached) in ways.items():
            seconds = await bench.raw(bodies(separate, cached), IN_FLIGHT * (VOTES if separate else 1))
            if turn:
                rates[name].append(VOTES * len(bench.bodies) / seconds)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    naive = medians["separate_requests_no_prefix_cache"]
    return {"judgments_per_second": medians, "over_naive": {name: rate / naive for name, rate in medians.items()}}


async def measure(judge: str, engine: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure all three parts, one after the other."""
    batch = items(arguments.items)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=4)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=600)) as http:
        bench = Bench(http, judge, engine)
        await bench.fill(batch)
        return {
            "throughput": await throughput(bench, batch, arguments.rounds),
            "latency": await latency(bench, batch, arguments.pairs),
            "gain": await gain(bench, arguments.rounds),
        }


def main() -> None:
    """Start Redis, a generator for its engine, and a judge; measure; write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--items", type=int, default=512)
    parser.add_argument("--pairs", type=int, default=200)
    arguments = parser.parse_args()
    drop_settings()

    # Start the services, and measure.
    with tempfile.TemporaryDirectory() as scratch:
        folder, judge_url = Path(scratch), f"http://127.0.0.1:{free_port()}"
        redis_port = free_port()
        redis = start_redis(folder / "redis", redis_port)
        log = folder / "generator.log"
        shared = {"SELFREWARD_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0"}
        settings = {
            "MODEL": str(MODEL),
            "WORK_DIR": scratch,
            "ARTIFACTS": f"{scratch}/artifacts",
            "PORT": str(free_port()),
        }
        environment = shared | {f"SELFREWARD_{name}": value for name, value in settings.items()}
        generator = start_child([sys.executable, "-m", "services.generator"], log, environment)
        judge = None
        try:
            engine = engine_url(log)
            settings = {"ENGINE_URL": engine, "CACHE_SECONDS": "0", "CONCURRENCY": str(IN_FLIGHT)}
            environment = shared | {f"SELFREWARD_JUDGE_{name}": value for name, value in settings.items()}
            environment["SELFREWARD_PORT"] = judge_url.rpartition(":")[2]
            judge = start_child([sys.executable, "-m", "services.judge"], folder / "judge.log", environment)
            asyncio.run(until_ready(judge_url, folder / "judge.log"))
            result = asyncio.run(measure(judge_url, engine, arguments))
        finally:
            for process in filter(None, (judge, generator, redis)):
                stop_child(process)

    # Write the result.
    command = f"python -m bench.judge --rounds {arguments.rounds} --items {arguments.items} --pairs {arguments.pairs}"
    out = ROOT / "bench" / "results" / "judge.json"
    setting = {"votes": VOTES, "in_flight": IN_FLIGHT, "rubric": RUBRIC, "model": str(MODEL.relative_to(ROOT))}
    ratio, added = result["throughput"]["ratio_to_raw"], result["latency"]["added_p50_ms"]
    figures = {"ratio_to_raw": ratio, "added_p50_ms": added}
    out.write_text(json.dumps({"command": command, **figures, **setting, **result}, indent=1) + "\n")
    print(f"ratio to raw {ratio:.3f}, added p50 {added:.1f} ms; {out}")


if __name__ == "__main__":
    main()
