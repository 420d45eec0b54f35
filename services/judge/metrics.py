"""The judge's Prometheus metrics."""

from collections.abc import Sequence

from prometheus_client import Counter, Gauge, Histogram

from selfreward.contracts.comparisons import PairVerdict, RankVerdict
from selfreward.contracts.judging import Judgment, VoteStatus

REQUESTS = Counter("selfreward_judge_requests", "Requests answered.", ["rubric", "contract", "status"])
VOTES = Counter("selfreward_judge_votes", "Votes cast, by status.", ["rubric", "status"])
SCORE = Histogram(
    "selfreward_judge_score", "Score of scored items.", ["rubric"], buckets=[step / 2 for step in range(11)]
)
STDEV = Histogram(
    "selfreward_judge_vote_stdev",
    "Standard deviation of an item's valid votes.",
    ["rubric"],
    buckets=[0, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5],
)
COMPARISONS = Counter(
    "selfreward_judge_comparisons",
    "Compared pairs, by outcome; flip: the two orders disagree, which counts as a tie.",
    ["rubric", "outcome"],
)
ARGUMENTS = Counter("selfreward_judge_arguments", "Arguments of debates, by status.", ["rubric", "status"])
BATCH_SIZE = Histogram("selfreward_judge_batch_size", "Items in a request.", buckets=[1, 2, 4, 8, 16, 64, 256, 1024])
DURATION = Histogram(
    "selfreward_judge_request_duration_seconds",
    "Time from a request's arrival to its answer.",
    buckets=[0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 600],
)
REFUSED = Counter(
    "selfreward_judge_refused",
    "Requests refused: unauthenticated, forbidden, too_large, rate, concurrency.",
    ["key", "reason"],
)
CACHE = Counter(
    "selfreward_judge_cache",
    "Items looked up in the result cache: hit, miss, refresh, unversioned (engine) or unavailable (Redis).",
    ["result"],
)
ENGINE_DURATION = Histogram(
    "selfreward_judge_engine_duration_seconds",
    "Time of one item's engine request, including retries but not the wait for a slot.",
    buckets=[0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300],
)
ENGINE_INFLIGHT = Gauge("selfreward_judge_engine_inflight_requests", "Requests at the engine now.")
ENGINE_RATE_LIMITED = Counter(
    "selfreward_judge_engine_rate_limited", "Requests that the engine refused for now (HTTP 429), which go again."
)
WAITING = Gauge("selfreward_judge_waiting_items", "Items waiting for the engine now.")
REJUDGED = Counter("selfreward_judge_rejudged_items", "Items judged again because the policy changed in a batch.")


def observe_judgments(rubric: str, judgments: Sequence[Judgment]) -> None:
    """Count the votes of judgments, and observe their scores."""
    _observe_votes(rubric, [vote.status for judgment in judgments for vote in judgment.votes])
    score, stdev = SCORE.labels(rubric), STDEV.labels(rubric)
    for judgment in judgments:
        if judgment.score is not None and judgment.stdev is not None:
            score.observe(judgment.score)
            stdev.observe(judgment.stdev)


def observe_pairs(rubric: str, verdicts: Sequence[PairVerdict]) -> None:
    """Count the votes, the outcomes and the debates' arguments of compared pairs."""
    _observe_votes(rubric, [vote.status for verdict in verdicts for vote in verdict.votes])
    for verdict in verdicts:
        outcome = "flip" if verdict.position_consistent is False else verdict.winner
        COMPARISONS.labels(rubric, outcome).inc()
        for argument in verdict.debate:
            ARGUMENTS.labels(rubric, argument.status).inc()


def observe_ranks(rubric: str, verdicts: Sequence[RankVerdict]) -> None:
    """Count the votes of rankings, and observe the scores of a pointwise rubric."""
    _observe_votes(rubric, [vote.status for verdict in verdicts for vote in verdict.votes])
    observe_judgments(rubric, [judgment for verdict in verdicts for judgment in verdict.judgments])


def _observe_votes(rubric: str, statuses: Sequence[VoteStatus]) -> None:
    """Count votes of any kind by their status."""
    for status in set(statuses):
        VOTES.labels(rubric, status).inc(statuses.count(status))
