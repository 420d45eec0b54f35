"""How votes are sampled: the request's settings, else the rubric's, and a reproducible seed for each item."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from selfreward.contracts.base import content_key
from selfreward.contracts.comparisons import Comparison
from selfreward.contracts.judging import JudgeRequest
from services.judge.rubrics.spec import RubricSpec
from services.judge.verdicts.logprobs import TOP_AT_CHOICE, TOP_AT_SCORE


@dataclass(frozen=True)
class VoteSampling:
    """Sampling of all votes of one request. `logprobs` is the number of alternatives at each token, 0 for none.

    `extra` are further fields of the engine request.
    """

    votes: int
    temperature: float
    top_p: float
    max_tokens: int
    retry_max_tokens: int | None
    min_valid_votes: int
    logprobs: int
    policy: str | None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def body(self, seed: int | None) -> dict[str, Any]:
        """The sampling fields of one engine request."""
        body: dict[str, Any] = {
            "n": self.votes,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            **self.extra,
        }
        if seed is not None:
            body["seed"] = seed
        if self.logprobs:
            body |= {"logprobs": True, "top_logprobs": self.logprobs}
        return body


def sampling_of(spec: RubricSpec, request: JudgeRequest | Comparison, *, expected: bool = False) -> VoteSampling:
    """The request's sampling settings, and the rubric's where it sets none. `expected`: scores need probabilities."""
    default = spec.sampling
    reasoning = {"reasoning_effort": default.reasoning_effort, "chat_template_kwargs": default.chat_template_kwargs}
    retry = default.retry_max_tokens if request.retry_max_tokens is None else request.retry_max_tokens
    return VoteSampling(
        votes=request.votes,
        temperature=default.temperature if request.temperature is None else request.temperature,
        top_p=default.top_p if request.top_p is None else request.top_p,
        max_tokens=default.max_tokens if request.max_tokens is None else request.max_tokens,
        retry_max_tokens=retry,
        min_valid_votes=spec.min_valid_votes if request.min_valid_votes is None else request.min_valid_votes,
        logprobs=TOP_AT_SCORE if expected else TOP_AT_CHOICE if spec.logprobs else 0,
        policy=request.policy,
        extra={name: value for name, value in reasoning.items() if value},
    )


def item_seeds(seed: int | None, ids: Sequence[str | None]) -> list[int | None]:
    """A 31-bit seed for each item, from the request's seed and the item's id (its position where it has none).

    An item keeps its seed wherever it stands in a batch. Items with the same id get different seeds. Without a seed of
    the request all are None.
    """
    if seed is None:
        return [None] * len(ids)
    repeats: Counter[str | int] = Counter()
    seeds: list[int | None] = []
    for index, item_id in enumerate(ids):
        name = index if item_id is None else item_id
        seeds.append(derive_seed(seed, name, repeats[name]))
        repeats[name] += 1
    return seeds


def derive_seed(seed: int, *names: object) -> int:
    """A 31-bit seed that depends only on `seed` and `names`."""
    return int(content_key(seed, *names)[:8], 16) >> 1
