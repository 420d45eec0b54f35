"""How throughput grows with replicas: judges and orchestrators on a real queue, with a stand-in for the GPUs.

Writes bench/results/replicas.json:
- `measured`: items/s of 1, 2 and 4 orchestrators, judges, and both, and what the formula of bench/scaling.py gives for
  the same setting; then one setting that the engine bounds, and one, with an instant engine, that the cores bound;
- `cpu_seconds`: CPU time of an item in the orchestrators, the judges, Redis, and the rest of the bench, in that last
  setting, because idle services spend more on each item: waiting costs too;
- `simulated`: 1 to 32 of each by the formula with that CPU time, each on its own core, with GPU-like engines, and the
  share of it that four of each reached when measured;
- `recipes`: how many of each fill one such engine with the work of the recipes for real hardware.

Where the number of replicas varies, they have few requests in flight and tokens come about eight times as fast as on a
GPU, so that four replicas of each leave cores free and a setting takes seconds. Answers and votes are the recipe's. The
CPU time of other processes on the machine is measured, and is not counted as a core of the bench.
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

from bench.replica_stack import Stack, running
from bench.replica_tables import RESULT, tables
from bench.scaling import Cpu, Engine, ItemWork, Replicas, engine_rate, limits, lowest
from bench.services import ROOT, commit, drop_settings
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
# An instant engine leaves the cost of the services.
SLOW, SMALL, INSTANT = Engine(0.05, 0.0025, 1024), Engine(0.05, 0.0025, 64), Engine(0, 0, 1024)
GPU = Engine(0.2, 0.02, 256)
"""Assumed, not measured: vLLM's 256 sequences at once, each with 50 tokens a second."""
SETTINGS: list[tuple[str, Engine, Replicas]] = [
    *(("orchestrators", SLOW, Replicas(count, 4, prompts=8, requests=64)) for count in (1, 2, 4)),
    *(("judges", SLOW, Replicas(4, count, prompts=10, requests=8)) for count in (1, 2, 4)),
    # As many prompts as engine requests in flight, as by default.
    *(("both", SLOW, Replicas(count, count, prompts=8, requests=8)) for count in (1, 2, 4)),
    ("engine", SMALL, Replicas(4, 4, prompts=8, requests=64)),
    ("cores", INSTANT, Replicas(1, 1, prompts=64, requests=64)),
]
_ITEMS = 3000
_RUN, _STAGE, _PART = "replicas", "M2", "rollouts"
_PATIENCE_S = 240.0


class Measurement(NamedTuple):
    """One measured setting: items/s, CPU seconds of an item, and the cores that processes outside the bench used."""

    rate: float
    cpu: Cpu
    other_cores: float


def item_work(recipe: Recipe) -> ItemWork:
    """The stand-in's work on an item of a recipe."""
    answer, verdict = lengths(recipe.sampling.max_tokens), lengths(recipe.judging.max_tokens)
    return ItemWork(recipe.sampling.n, recipe.judging.votes, answer, verdict)


async def put_items(redis: RedisClient, recipe: Recipe) -> None:
    """Queue prompts like the phase `rollouts` of a run does, on an empty Redis."""
    await redis.flushall()
    prompts = [
        PromptItem(prompt_id=str(index), prompt=[Message(role="user", content=f"{index} {'word ' * PROMPT_TOKENS}")])
        for index in range(_ITEMS)
    ]
    tasks = rollout_tasks(_RUN, recipe, _STAGE, prompts, POLICY)
    await WorkQueue(redis, QUEUE).put_many([(task.key, task.model_dump(mode="json")) for task in tasks])


async def watch(redis: RedisClient, stack: Stack, in_flight: int, window: float) -> Measurement:
    """Measure for at least `window` seconds, after the first `in_flight` items are finished.

    Items that start together finish together. So only whole multiples of `in_flight` items are counted, and it does not
    matter when the window starts. Raises RuntimeError when no further item is finished, or the queue runs empty.
    """
    results = Results(redis, _RUN, _STAGE, _PART)

    async def finished(goal: int) -> int:
        deadline = time.monotonic() + _PATIENCE_S
        while (count := await results.count()) < goal:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{count} of {goal} items in {_PATIENCE_S:g} s; see the logs in {stack.folder}")
            await asyncio.sleep(0.05)
        return count

    # Count items until the window is over.
    before = after = await finished(in_flight)
    cpu, busy, started, seconds = stack.cpu(), _busy(), time.perf_counter(), 0.0
    while seconds < window:
        turns = 1 + (after - before) // in_flight
        after = await finished(before + turns * in_flight)
        seconds = time.perf_counter() - started

    # Divide the CPU time by them.
    used, total = stack.cpu(), _busy() - busy
    if not await WorkQueue(redis, QUEUE).length() > in_flight:
        raise RuntimeError(f"the queue ran empty after {after} items: lower --window from {window:g}")
    spent = [end - start for end, start in zip(used, cpu, strict=True)]
    per_item = Cpu(*(part / (after - before) for part in spent))
    return Measurement((after - before) / seconds, per_item, max(0.0, total - sum(spent)) / seconds)


def _busy() -> float:
    """CPU seconds of the whole machine since its start."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


async def measure(recipe: Recipe, folder: Path, redis: Popen[bytes], url: str, window: float) -> list[Measurement]:
    """Measure every setting, each with new services."""
    measurements = []
    async with connect(url) as client:
        for number, (varied, engine, replicas) in enumerate(SETTINGS):
            await put_items(client, recipe)
            async with running(folder / str(number), redis, url, engine, replicas) as stack:
                measurements.append(await watch(client, stack, replicas.orchestrators * replicas.prompts, window))
            rate = measurements[-1].rate
            print(f"{varied:<14}{replicas.orchestrators} + {replicas.judges}: {rate:6.2f} items/s", flush=True)
    return measurements


def compare(work: ItemWork, measurements: Sequence[Measurement], cpu: Cpu, cores: int) -> list[dict[str, Any]]:
    """Each setting with its ratio to the first of its series, and with the formula's result on these cores."""
    first: dict[str, float] = {}
    rows = []
    for (varied, engine, replicas), measurement in zip(SETTINGS, measurements, strict=True):
        on_free_cores = replicas._replace(cores=cores - measurement.other_cores)
        rate, bound = lowest(limits(work, engine, cpu, on_free_cores))
        rows.append(
            {
                "varied": varied,
                "orchestrators": replicas.orchestrators,
                "judges": replicas.judges,
                "prompts_in_flight": replicas.prompts,
                "judge_requests_in_flight": replicas.requests,
                "engine": engine._asdict(),
                "items_per_second": measurement.rate,
                "ratio_to_one": measurement.rate / first.setdefault(varied, measurement.rate),
                "formula": rate,
                "bound_by": bound,
                "measured_to_formula": measurement.rate / rate,
                "cpu_seconds": measurement.cpu._asdict(),
                "other_cores": measurement.other_cores,
            }
        )
    return rows


def simulate(work: ItemWork, cpu: Cpu, share: float) -> list[dict[str, Any]]:
    """As many judges as orchestrators, with the default of 64 in flight, and with as many engines as they fill.

    Then two limits are close to each other, and work waits at both: expect the `share` of the formula's result.
    """
    rows = []
    for count in (1, 2, 4, 8, 16, 32):
        allowed = limits(work, GPU, cpu, Replicas(count, count, prompts=64, requests=64, engines=10**6))
        rate, bound = lowest(allowed)
        rows.append(
            {
                "replicas": count,
                "formula": rate,
                "bound_by": bound,
                "expected": share * rate,
                "engines_kept_full": share * rate / engine_rate(work, GPU),
                "cores_bear": min(allowed[name] for name in ("orchestrators' cores", "judges' cores", "Redis's core")),
            }
        )
    return rows


def size_for_recipes(cpu: Cpu) -> list[dict[str, Any]]:
    """For each recipe for real hardware, the number of replicas with 64 in flight that fill one engine."""
    rows = []
    for name in ("qwen0.5b-1gpu", "llama8b-8gpu", "llama70b-lora"):
        work = item_work(load_recipe(ROOT / "recipes" / f"{name}.toml"))
        allowed = limits(work, GPU, cpu, Replicas(1, 1, prompts=64, requests=64))
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
    parser.add_argument("--window", type=float, default=10.0, help="the least seconds to measure each setting")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    drop_settings()

    # Measure every setting.
    recipe, cores = load_recipe(RECIPE), len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as scratch:
        port = free_port()
        redis = start_redis(Path(scratch) / "redis", port)
        try:
            url = f"redis://127.0.0.1:{port}/0"
            measurements = asyncio.run(measure(recipe, Path(scratch), redis, url, arguments.window))
        finally:
            stop_child(redis)

    # Compare with the formula, and simulate more replicas.
    work = item_work(recipe)
    # In the last setting the services have as much work as they can do.
    cpu = measurements[-1].cpu
    rows = compare(work, measurements, cpu, cores)
    share = next(row["measured_to_formula"] for row in reversed(rows) if row["varied"] == "both")
    result = {
        "command": f"python -m bench.replicas --window {arguments.window:g}",
        "commit": commit(),
        "machine": {"cores": cores, "cpu": platform.machine(), "python": platform.python_version()},
        "other_cores": max(measurement.other_cores for measurement in measurements),
        "recipe": str(RECIPE.relative_to(ROOT)),
        "cpu_seconds": cpu._asdict(),
        "measured": rows,
        "simulated_engine": GPU._asdict(),
        "simulated": simulate(work, cpu, share),
        "recipes": size_for_recipes(cpu),
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    worst = max(abs(1 - row["measured_to_formula"]) for row in rows)
    print(f"{tables(result)}\nfurthest from the formula: {worst:.0%}; {arguments.out}")


if __name__ == "__main__":
    main()
