"""Implicit rewards: what a model's own probabilities say of an answer, and how the methods that use them are told to.

The implicit reward of an answer is the sum of its tokens' log-probabilities under a model less the same sum under a
reference, in nats (Rafailov et al. 2023, section 4, without beta). No judge is asked for it.
"""

from typing import Literal

from pydantic import Field

from selfreward.contracts.judging import Contract


class ResponseLogprobs(Contract):
    """What several checkpoints give one answer of a rollout; `prompt_id` and `index` say which, whatever the order.

    `index` counts the rollout's responses from 0. `tokens` are the answer's own, its end of turn included.
    `logprobs` has for each checkpoint, by artifact name, the sum of these tokens' log-probabilities, in nats.
    """

    prompt_id: str
    index: int = Field(ge=0)
    tokens: int = Field(ge=1)
    logprobs: dict[str, float] = Field(min_length=1)


class Cream(Contract):
    """CREAM (2410.12735). `soft_labels`: the probability that a pair's chosen answer is better is the mean consistency
    of the whole round (`average`, the paper's default) or that of the pair's own prompt (`dynamic`).
    """

    soft_labels: Literal["average", "dynamic"] = "average"


class Consistency(Contract):
    """SCIR's consistency term in training (2502.08922). The paper's weights are not known; these are ours.

    `weight` is lambda, of the whole term; `entropy` is gamma, of the entropies within it.
    """

    weight: float = Field(default=1.0, gt=0, le=1000)
    entropy: float = Field(default=0.1, ge=0, le=1000)


class Scir(Contract):
    """SCIR (2502.08922): the generative judge and the implicit reward of one model look at the same pairs.

    `mode`: `filter` trains plain DPO on the pairs about which both agree; `consistency` trains on all of them, with the
    term of `consistency` between both, and prefers only where both agree at that moment.

    `judge`: `pairwise`, the rubric `rubric` in both orders with `votes` for each, or `pointwise`, the votes of the
    recipe's `judging` on each answer: the share of vote pairs in which the one's is above the other's, equal ones half.
    """

    mode: Literal["filter", "consistency"] = "filter"
    judge: Literal["pairwise", "pointwise"] = "pairwise"
    rubric: str = "pairwise"
    votes: int = Field(default=1, ge=1, le=64)
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.9, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1, le=8192)
    consistency: Consistency = Consistency()
