"""A formula for the throughput of replicas: the lowest of the limits that engines, replicas and cores set.

An item is a prompt with `answers` answers and `votes` votes on each answer. All values are means. What waits for
several concurrent sequences waits for the longest. Two of the limits are Little's law (1961): the number in flight
divided by the time that one takes.
"""

from typing import NamedTuple


class Lengths(NamedTuple):
    """Tokens of a sequence, uniformly distributed between `low` and `high`."""

    low: float
    high: float

    def longest(self, count: int) -> float:
        """The mean number of tokens of the longest of `count` sequences; with `count` 1 the mean of all."""
        return self.low + (self.high - self.low) * count / (count + 1)


class ItemWork(NamedTuple):
    """The engine's work on one item."""

    answers: int
    votes: int
    answer: Lengths
    verdict: Lengths


class Engine(NamedTuple):
    """Seconds until a sequence's first token, seconds for each of its tokens, and how many sequences are concurrent."""

    first_token: float
    token: float
    sequences: int

    def seconds(self, tokens: float) -> float:
        """Seconds for a sequence of `tokens` tokens once the engine works on it."""
        return self.first_token + tokens * self.token


class Cpu(NamedTuple):
    """CPU seconds for an item: of orchestrators, judges, Redis, and of the rest of the bench on the same machine."""

    orchestrator: float
    judge: float
    redis: float
    rest: float


class Replicas(NamedTuple):
    """The number of replicas, and what each has in flight: `prompts` an orchestrator, engine `requests` a judge.

    `cores` are those of the one machine that runs them all; infinite where each replica has its own core.
    """

    orchestrators: int
    judges: int
    prompts: int
    requests: int
    engines: int = 1
    cores: float = float("inf")


def engine_rate(work: ItemWork, engine: Engine) -> float:
    """Items per second that fill one engine."""
    answering = work.answers * engine.seconds(work.answer.longest(1))
    judging = work.answers * work.votes * engine.seconds(work.verdict.longest(1))
    return _per_second(engine.sequences, answering + judging)


def limits(work: ItemWork, engine: Engine, cpu: Cpu, replicas: Replicas) -> dict[str, float]:
    """The items per second that each part allows by itself."""
    answering = engine.seconds(work.answer.longest(work.answers))
    judging = engine.seconds(work.verdict.longest(work.answers * work.votes))
    item = answering + judging + cpu.orchestrator + cpu.judge
    # A judge asks for all votes on one answer in one request.
    request = engine.seconds(work.verdict.longest(work.votes)) + cpu.judge / work.answers
    return {
        "engines": replicas.engines * engine_rate(work, engine),
        "prompts in flight": _per_second(replicas.orchestrators * replicas.prompts, item),
        "judge requests in flight": _per_second(replicas.judges * replicas.requests, work.answers * request),
        "orchestrators' cores": _per_second(replicas.orchestrators, cpu.orchestrator),
        "judges' cores": _per_second(replicas.judges, cpu.judge),
        # All replicas share one Redis, which works on one core.
        "Redis's core": _per_second(1, cpu.redis),
        "the machine's cores": _per_second(replicas.cores, sum(cpu)),
    }


def lowest(allowed: dict[str, float]) -> tuple[float, str]:
    """The lowest limit: the throughput in items per second, and what bounds it."""
    bound = min(allowed, key=lambda name: allowed[name])
    return allowed[bound], bound


def _per_second(count: float, seconds: float) -> float:
    return count / seconds if seconds else float("inf")
