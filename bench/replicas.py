"""How throughput grows with replicas: judges and orchestrators on a real queue, with a stand-in for the GPUs.

Writes bench/results/replicas.json:
- `measured`: items/s of 1, 2 and 4 orchestrators, judges, and both, beside what bench/scaling.py makes of the same
  setting; then one that the engine bounds, and one that the cores do, as its engine takes no time;
- `cpu_seconds`: what an item costs the orchestrators, the judges, Redis, and all else here, in that last setting: with
  less work than they can do, they spend more on each item, for waiting costs too;
- `simulated`: 1 to 32 of each by the formula with that cost, each on a core of its own, before GPU-like engines, and
  the share of it that four of each were measured at;
- `recipes`: how many of each fill one such engine with the work of the recipes for real hardware.

Where replicas vary they have few requests in flight, and tokens come about eight times as fast as a GPU's, so that four
replicas of each leave cores free and a setting takes seconds. The recipe's answers and votes are kept. What other
processes of the machine take is measured, and is not counted as a core that the bench had.
"""

import argparse
import asyncio
import json
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from subprocess import Popen
from typing import Any, NamedTuple

import psutil

from bench.gateway import ROOT, drop_settings
from bench.queue import commit
from bench.replica_stack import Stack, running
from bench.replica_tables import RESULT, tables
from bench.scaling import Cpu, Engine, Replicas, Work, engine_rate, least, limits
from bench.stand_in import POLICY, PROMPT_TOKENS, lengths
from orchestrator.runs.results import Results
from selfreward.contracts.base import Message
from selfreward.loop.load import load_recipe
from selfreward.loop.tasks import QUEUE, PromptItem
from selfreward.processes.child import free_port, stop_child
from selfreward.processes.redis import start_redis
from selfreward.recipe.recipe import Recipe
from selfreward.redis.connection import RedisClient, connect
from selfreward.redis.queue import WorkQueue
from tests.support.methods import rollout_tasks

RECIPE = ROOT / "recipes" / "qwen0.5b-1gpu.toml"
# An instant engine answers at once: what is left is what the services cost.
SLOW, SMALL, INSTANT = Engine(0.05, 0.0025, 1024), Engine(0.05, 0.0025, 64), Engine(0, 0, 1024)
GPU = Engine(0.2, 0.02, 256)
"""Assumed, not measured: vLLM's 256 sequences at once, each with 50 tokens a second."""
SETTINGS: list[tuple[str, Engine, Replicas]] = [
    *(("orchestrators", SLOW, Replicas(count, 4, prompts=8, requests=64)) for count in (1, 2, 4)),
    *(("judges", SLOW, Replicas(4, count, prompts=10, requests=8)) for count in (1, 2, 4)),
    # As many of the one as of the other in flight, which is how the defaults are.
    *(("both", SLOW, Replicas(count, count, prompts=8, requests=8)) for count in (1, 2, 4)),
    ("engine", SMALL, Replicas(4, 4, prompts=8, requests=64)),
    ("cores", INSTANT, Replicas(1, 1, prompts=64, requests=64)),
]
_ITEMS = 3000
_RUN, _STAGE, _PART = "replicas", "M2", "rollouts"
_PATIENCE_S = 240.0


class Point(NamedTuple):
    """One setting as measured: items/s, and the cores that processes which are not the bench's took meanwhile."""

    rate: float
    cpu: Cpu
    other_cores: float


def work(recipe: Recipe) -> Work:
    """What an item of a recipe asks of the stand-in."""
    answer, verdict = lengths(recipe.sampling.max_tokens), lengths(recipe.judging.max_tokens)
    return Work(recipe.sampling.n, recipe.judging.votes, answer, verdict)


async def put_items(redis: RedisClient, recipe: Recipe) -> None:
    """Queue prompts as the phase `rollouts` of a run does, on an empty Redis."""
    await redis.flushall()
    prompts = [
        PromptItem(prompt_id=str(index), prompt=[Message(role="user", content=f"{index} {'word ' * PROMPT_TOKENS}")])
        for index in range(_ITEMS)
    ]
    tasks = rollout_tasks(_RUN, recipe, _STAGE, prompts, POLICY)
    await WorkQueue(redis, QUEUE).put_many([(task.key, task.model_dump(mode="json")) for task in tasks])


async def watch(redis: RedisClient, stack: Stack, in_flight: int, window: float) -> Point:
    """Measure for at least `window` seconds, once as many items as are in flight are finished.

    Items that began together finish together: whole turns of what is in flight are counted, so that it does not matter
    where in a turn the window begins. RuntimeError when nothing more is finished, or nothing is left to do.
    """
    results = Results(redis, _RUN, _STAGE, _PART)

    async def finished(goal: int) -> int:
        deadline = time.monotonic() + _PATIENCE_S
        while (count := await results.count()) < goal:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{count} of {goal} items in {_PATIENCE_S:g} s; see the logs in {stack.folder}")
            await asyncio.sleep(0.05)
        return count

    before = after = await finished(in_flight)
    cpu, busy, started, seconds = stack.cpu(), _busy(), time.perf_counter(), 0.0
    while seconds < window:
        turns = 1 + (after - before) // in_flight
        after = await finished(before + turns * in_flight)
        seconds = time.perf_counter() - started
    used, total = stack.cpu(), _busy() - busy
    if not await WorkQueue(redis, QUEUE).length() > in_flight:
        raise RuntimeError(f"the queue ran empty after {after} items: lower --window from {window:g}")
    spent = [now - then for now, then in zip(used, cpu, strict=True)]
    each = Cpu(*(part / (after - before) for part in spent))
    return Point((after - before) / seconds, each, max(0.0, total - sum(spent)) / seconds)


def _busy() -> float:
    """CPU seconds of the whole machine since it started."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


async def measure(recipe: Recipe, folder: Path, redis: Popen[bytes], url: str, window: float) -> list[Point]:
    """Every setting, each with services started anew."""
    points = []
    async with connect(url) as client:
        for number, (varied, engine, there) in enumerate(SETTINGS):
            await put_items(client, recipe)
            async with running(folder / str(number), redis, url, engine, there) as stack:
                points.append(await watch(client, stack, there.orchestrators * there.prompts, window))
            print(f"{varied:<14}{there.orchestrators} + {there.judges}: {points[-1].rate:6.2f} items/s", flush=True)
    return points


def compared(asked: Work, points: Sequence[Point], cpu: Cpu, cores: int) -> list[dict[str, Any]]:
    """Each setting with its ratio to the first of its series, and what the formula says of it on these cores."""
    first: dict[str, float] = {}
    rows = []
    for (varied, engine, there), point in zip(SETTINGS, points, strict=True):
        left = there._replace(cores=cores - point.other_cores)
        rate, bound = least(limits(asked, engine, cpu, left))
        rows.append(
            {
                "varied": varied,
                "orchestrators": there.orchestrators,
                "judges": there.judges,
                "prompts_in_flight": there.prompts,
                "judge_requests_in_flight": there.requests,
                "engine": engine._asdict(),
                "items_per_second": point.rate,
                "ratio_to_one": point.rate / first.setdefault(varied, point.rate),
                "formula": rate,
                "bound_by": bound,
                "measured_to_formula": point.rate / rate,
                "cpu_seconds": point.cpu._asdict(),
                "other_cores": point.other_cores,
            }
        )
    return rows


def simulated(asked: Work, cpu: Cpu, share: float) -> list[dict[str, Any]]:
    """As many judges as orchestrators, with 64 in flight as is the default, before as many engines as they fill.

    Two limits are close to each other then, and work waits at both: `share` of the formula is what is expected.
    """
    rows = []
    for count in (1, 2, 4, 8, 16, 32):
        allowed = limits(asked, GPU, cpu, Replicas(count, count, prompts=64, requests=64, engines=10**6))
        rate, bound = least(allowed)
        rows.append(
            {
                "replicas": count,
                "formula": rate,
                "bound_by": bound,
                "expected": share * rate,
                "engines_kept_full": share * rate / engine_rate(asked, GPU),
                "cores_bear": min(allowed[name] for name in ("orchestrators' cores", "judges' cores", "Redis's core")),
            }
        )
    return rows


def sized(cpu: Cpu) -> list[dict[str, Any]]:
    """For each recipe for real hardware the replicas, with 64 in flight each, that fill one engine."""
    rows = []
    for name in ("qwen0.5b-1gpu", "llama8b-8gpu", "llama70b-lora"):
        asked = work(load_recipe(ROOT / "recipes" / f"{name}.toml"))
        allowed = limits(asked, GPU, cpu, Replicas(1, 1, prompts=64, requests=64))
        full = allowed["engines"]
        rows.append(
            {
                "recipe": name,
                "engine": full,
                "orchestrators": full / allowed["prompts in flight"],
                "judges": full / allowed["judge requests in flight"],
            }
        )
    return rows


def main() -> None:
    """Start Redis, measure every setting, compare, simulate, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--window", type=float, default=10.0, help="seconds that each setting is measured for at least")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    drop_settings()
    recipe, cores = load_recipe(RECIPE), len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as scratch:
        port = free_port()
        redis = start_redis(Path(scratch) / "redis", port)
        try:
            found = measure(recipe, Path(scratch), redis, f"redis://127.0.0.1:{port}/0", given.window)
            points = asyncio.run(found)
        finally:
            stop_child(redis)
    asked = work(recipe)
    # The last setting is the one whose services have as much to do as they can.
    cpu = points[-1].cpu
    rows = compared(asked, points, cpu, cores)
    share = next(row["measured_to_formula"] for row in reversed(rows) if row["varied"] == "both")
    result = {
        "command": f"python -m bench.replicas --window {given.window:g}",
        "commit": commit(),
        "machine": {"cores": cores, "cpu": platform.machine(), "python": platform.python_version()},
        "other_cores": max(point.other_cores for point in points),
        "recipe": str(RECIPE.relative_to(ROOT)),
        "cpu_seconds": cpu._asdict(),
        "measured": rows,
        "simulated_engine": GPU._asdict(),
        "simulated": simulated(asked, cpu, share),
        "recipes": sized(cpu),
    }
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    worst = max(abs(1 - row["measured_to_formula"]) for row in rows)
    print(f"{tables(result)}\nfurthest from the formula: {worst:.0%}; {given.out}")


if __name__ == "__main__":
    main()
