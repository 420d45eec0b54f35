"""Prometheus metrics of the generator, and the engine's own, which follow them on the page."""

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("selfreward_generator_requests", "Requests answered.", ["route", "status"])
INFLIGHT = Gauge("selfreward_generator_inflight_requests", "Requests that are with the engine.", ["version"])
QUEUED = Gauge("selfreward_generator_queued_requests", "Requests that wait for the gate to open.")
REPEATED = Counter(
    "selfreward_generator_repeated_requests", "Requests sent to the engine again after it cut them off.", ["cause"]
)
VERSION = Gauge("selfreward_generator_weights_version_info", "The weights that are served.", ["version", "sha"])
READY = Gauge("selfreward_generator_ready", "1 while the gate is open.")
RELOAD_SECONDS = Histogram(
    "selfreward_generator_reload_duration_seconds",
    "Time users waited at the gate for a swap, by step.",
    ["step"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
)
REFUSED = Counter("selfreward_generator_refused_weights", "Announced weights that were refused.")
RESTARTS = Counter("selfreward_generator_engine_restarts", "Engines started in place of one that was lost.")
FOLLOW_ERRORS = Counter("selfreward_generator_follow_errors", "Failed attempts to read or fetch what is announced.")


def engine_families(page: str) -> str:
    """The `vllm:` families of the engine's page. Its process metrics would clash with the gateway's."""
    kept = ("vllm:", "# HELP vllm:", "# TYPE vllm:")
    return "".join(f"{line}\n" for line in page.splitlines() if line.startswith(kept))
