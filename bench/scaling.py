"""How fast replicas work off the queue: the least of what engines, replicas and cores can do for an item.

An item is a prompt with `answers` answers and `votes` verdicts on each. Mean values throughout; what waits for several
sequences at once waits for the longest. Two of the limits are Little's law (1961): the most that may be in flight, over
the time that one of them takes.
"""

from typing import NamedTuple


class Lengths(NamedTuple):
    """Tokens of a sequence, uniformly between `low` and `high`."""

    low: float
    high: float

    def longest(self, count: int) -> float:
        """Mean tokens of the longest of `count` sequences; of one, the mean of them all."""
        return self.low + (self.high - self.low) * count / (count + 1)


class Work(NamedTuple):
    """What one item asks of the engine."""

    answers: int
    votes: int
    answer: Lengths
    verdict: Lengths


class Engine(NamedTuple):
    """Seconds until a sequence's first token and for each of its tokens, and the sequences worked on at once."""

    first_token: float
    token: float
    sequences: int

    def seconds(self, tokens: float) -> float:
        """What a sequence of `tokens` tokens takes once the engine works on it."""
        return self.first_token + tokens * self.token


class Cpu(NamedTuple):
    """CPU seconds for an item: the orchestrators', the judges', Redis's, and all others' on the same machine."""

    orchestrator: float
    judge: float
    redis: float
    rest: float


class Replicas(NamedTuple):
    """How many there are, and what each has in flight: prompts of an orchestrator, engine requests of a judge.

    `cores` are those of the one machine that runs them all; infinite where each replica has a core of its own.
    """

    orchestrators: int
    judges: int
    prompts: int
    requests: int
    engines: int = 1
    cores: float = float("inf")


def engine_rate(work: Work, engine: Engine) -> float:
    """Items per second that keep one engine full."""
    answering = work.answers * engine.seconds(work.answer.longest(1))
    judging = work.answers * work.votes * engine.seconds(work.verdict.longest(1))
    return _per_second(engine.sequences, answering + judging)


def limits(work: Work, engine: Engine, cpu: Cpu, there: Replicas) -> dict[str, float]:
    """Items per second that each part allows by itself."""
    answering = engine.seconds(work.answer.longest(work.answers))
    judging = engine.seconds(work.verdict.longest(work.answers * work.votes))
    item = answering + judging + cpu.orchestrator + cpu.judge
    # A judge asks for all votes on one answer in one request.
    request = engine.seconds(work.verdict.longest(work.votes)) + cpu.judge / work.answers
    return {
        "engines": there.engines * engine_rate(work, engine),
        "prompts in flight": _per_second(there.orchestrators * there.prompts, item),
        "judge requests in flight": _per_second(there.judges * there.requests, work.answers * request),
        "orchestrators' cores": _per_second(there.orchestrators, cpu.orchestrator),
        "judges' cores": _per_second(there.judges, cpu.judge),
        # However many replicas there are, they share one Redis, which works on one core.
        "Redis's core": _per_second(1, cpu.redis),
        "the machine's cores": _per_second(there.cores, sum(cpu)),
    }


def least(allowed: dict[str, float]) -> tuple[float, str]:
    """The throughput, in items per second, and what bounds it."""
    bound = min(allowed, key=lambda name: allowed[name])
    return allowed[bound], bound


def _per_second(count: float, seconds: float) -> float:
    return count / seconds if seconds else float("inf")
