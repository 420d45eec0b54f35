"""Prometheus metrics of the judge."""

from prometheus_client import Counter, Gauge, Histogram

from selfreward.contracts import Judgment

REQUESTS = Counter("selfreward_judge_requests", "Requests answered.", ["rubric", "contract", "status"])
VOTES = Counter("selfreward_judge_votes", "Votes cast, by what became of them.", ["rubric", "status"])
SCORE = Histogram(
    "selfreward_judge_score", "Mean score of scored items.", ["rubric"], buckets=[step / 2 for step in range(11)]
)
STDEV = Histogram(
    "selfreward_judge_vote_stdev",
    "Standard deviation of an item's valid votes.",
    ["rubric"],
    buckets=[0, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5],
)
BATCH_SIZE = Histogram("selfreward_judge_batch_size", "Items in a request.", buckets=[1, 2, 4, 8, 16, 64, 256, 1024])
DURATION = Histogram(
    "selfreward_judge_request_duration_seconds",
    "Time from a request's arrival to its answer.",
    buckets=[0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 600],
)
REFUSED = Counter(
    "selfreward_judge_refused",
    "Requests not taken on: unauthenticated, forbidden, too_large, rate, concurrency.",
    ["key", "reason"],
)
CACHE = Counter(
    "selfreward_judge_cache",
    "Items looked up in the result cache: hit, miss, refresh, unversioned (engine) or unavailable (Redis).",
    ["result"],
)
ENGINE_DURATION = Histogram(
    "selfreward_judge_engine_duration_seconds",
    "Time of one item's engine request, retries included, waiting for a slot not.",
    buckets=[0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300],
)
ENGINE_INFLIGHT = Gauge("selfreward_judge_engine_inflight_requests", "Requests at the engine now.")
WAITING = Gauge("selfreward_judge_waiting_items", "Items waiting for the engine now.")
REJUDGED = Counter("selfreward_judge_rejudged_items", "Items judged again because the policy changed in a batch.")


def observe(rubric: str, judgments: list[Judgment]) -> None:
    """Count the votes and scores of one answer."""
    counts: dict[str, int] = {}
    score, stdev = SCORE.labels(rubric), STDEV.labels(rubric)
    for judgment in judgments:
        for vote in judgment.votes:
            counts[vote.status] = counts.get(vote.status, 0) + 1
        if judgment.score is not None and judgment.stdev is not None:
            score.observe(judgment.score)
            stdev.observe(judgment.stdev)
    for status, count in counts.items():
        VOTES.labels(rubric, status).inc(count)
