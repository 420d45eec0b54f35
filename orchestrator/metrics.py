"""Prometheus metrics of the orchestrator."""

import time

from prometheus_client import Counter, Gauge, Histogram

from selfreward.redis.queue import WorkQueue

ITERATION = Gauge("selfreward_orchestrator_iteration", "Models published by the run that is being advanced.")
LEADER = Gauge("selfreward_orchestrator_leader", "1 while this replica advances the runs.")
BLOCKED = Gauge("selfreward_orchestrator_blocked", "1 while the run that is being advanced waits for disk space.")
PHASE_SECONDS = Histogram(
    "selfreward_orchestrator_phase_duration_seconds",
    "Duration of finished phases.",
    ["phase"],
    buckets=(1, 5, 15, 60, 300, 900, 3600, 14400, 86400),
)
PAIRS = Counter("selfreward_pairs_total", "Prompts by what pair building made of them.", ["outcome"])
LENGTH = Histogram(
    "selfreward_response_length_chars",
    "Characters of the answers in pairs.",
    ["role"],
    buckets=(16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192),
)
WATCHDOG = Gauge(
    "selfreward_watchdog_value", "Newest figure of each watchdog, of the run being advanced.", ["watchdog"]
)
ALARMS = Counter("selfreward_watchdog_alarms_total", "Alarms raised.", ["watchdog", "action"])
REDELIVERIES = Counter("selfreward_queue_redeliveries_total", "Items delivered again.", ["stream"])
DEAD_LETTERS = Counter("selfreward_queue_dead_letters_total", "Items given up by this replica.", ["stream"])
_QUEUE_LENGTH = Gauge("selfreward_queue_length", "Items waiting or in work.", ["stream"])
_QUEUE_PENDING = Gauge("selfreward_queue_pending", "Items in work.", ["stream"])
_QUEUE_OLDEST = Gauge("selfreward_queue_oldest_seconds", "Age of the oldest unfinished item.", ["stream"])


async def observe_queue(queue: WorkQueue, name: str) -> None:
    """Read a queue's gauges from Redis."""
    await queue.open()
    pending = await queue.redis.xpending(queue.stream, queue.group)
    oldest = await queue.redis.xrange(queue.stream, count=1)
    age = time.time() - float(oldest[0][1]["queued_at"]) if oldest else 0.0
    _QUEUE_LENGTH.labels(name).set(await queue.length())
    _QUEUE_PENDING.labels(name).set(pending["pending"])
    _QUEUE_OLDEST.labels(name).set(max(0.0, age))
