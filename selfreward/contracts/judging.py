"""The wire contracts of the loop: what a rollout, a vote, a judgment and a preference pair are.

Every service validates what it receives and sends with these models. Unknown fields are refused, so that a
misspelt field is an error that names it and never a silently ignored setting.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from selfreward.contracts.base import Contract, Message

VoteStatus = Literal["ok", "truncated", "unparsed", "out_of_range", "refused", "error"]
JudgmentStatus = Literal["ok", "partial", "unscored"]
Aggregation = Literal["mean", "median", "majority", "expected"]


class Vote(Contract):
    """One sampled judgment of one response. `score` is set exactly when `status` is `ok`.

    `reason` says what is wrong with a vote that is not ok. `expected` is the expected score under the judge's own
    probabilities of the digits (aggregation `expected` only). `criteria` (rubrics with an explicit sum) holds for
    each criterion whether it earns its weight: it is met, or it is a pitfall that was avoided.
    """

    score: float | None = None
    status: VoteStatus
    text: str = ""
    finish_reason: str | None = None
    reason: str | None = None
    expected: float | None = None
    criteria: list[bool] | None = None

    @model_validator(mode="after")
    def _score_only_when_ok(self) -> Self:
        if (self.score is not None) != (self.status == "ok"):
            raise ValueError(f"score={self.score!r} contradicts status={self.status!r}: only an ok vote has a score")
        return self


class Judgment(Contract):
    """The verdict on one response: its valid votes in one number (by default their mean), or no score at all.

    `status`: `ok` all votes valid, `partial` some, `unscored` fewer than the rubric's minimum. A failed parse
    is never a number (papers: Meta-Rewarding section 2.1 averages valid scores only).
    `stdev` is the population standard deviation of the valid scores, `agreement` the share of them (0 to 1) that
    equal the most frequent one. `failure_kind` is low-cardinality and safe as a metric label; `failure_reason` is
    free text.
    """

    id: str
    index: int = Field(ge=0)
    score: float | None = None
    status: JudgmentStatus
    votes: list[Vote]
    stdev: float | None = None
    agreement: float | None = None
    valid_votes: int = Field(ge=0)
    failure_kind: VoteStatus | None = None
    failure_reason: str | None = None


class Criterion(Contract):
    """One thing that a response shall do, or for a `pitfall` shall not do, in one self-contained sentence.

    `weight` is 1.0, 0.7, 0.3 and 0.9 by default for essential, important, optional and pitfall (Rubrics as Rewards,
    2507.17746).
    """

    text: str = Field(min_length=1, max_length=2000)
    label: Literal["essential", "important", "optional", "pitfall"] = "essential"
    weight: float | None = Field(default=None, gt=0, le=1000)


class JudgeItem(Contract):
    """One (prompt, response) to judge. `id` is echoed; by default the item's position.

    `criteria` are this prompt's own, for a rubric of kind `criteria`; they stand in place of the rubric's.
    """

    id: str | None = None
    prompt: str | list[Message]
    response: str | list[Message]
    reference: str | None = None
    criteria: list[Criterion] | None = Field(default=None, min_length=1, max_length=64)


class JudgeRequest(Contract):
    """Body of `POST /v1/judge`. `policy` pins the judging model's version (`policy@N`).

    `aggregation`, `min_valid_votes` and the sampling fields are the rubric's where they are left out. A truncated
    vote is sampled once more, with twice the tokens, as far as `retry_max_tokens` allows.
    Numbers are numbers: neither `true` nor `"3"` is taken for one.
    """

    rubric: str = "additive5"
    items: list[JudgeItem] = Field(min_length=1, max_length=1024)
    votes: int = Field(default=3, ge=1, le=64, strict=True)
    temperature: float | None = Field(default=None, ge=0, le=2, strict=True)
    top_p: float | None = Field(default=None, gt=0, le=1, strict=True)
    max_tokens: int | None = Field(default=None, ge=1, le=8192, strict=True)
    retry_max_tokens: int | None = Field(default=None, ge=1, le=8192, strict=True)
    aggregation: Aggregation | None = None
    min_valid_votes: int | None = Field(default=None, ge=1, le=64, strict=True)
    policy: str | None = None
    seed: int | None = Field(default=None, strict=True)


class Usage(Contract):
    """Token counts of the engine calls behind one answer."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class JudgeResponse(Contract):
    """Answer of `POST /v1/judge`; `data` is in the order of the items. `rubric` is `name@sha256:<12 hex>`."""

    id: str
    rubric: str
    judge_version: str
    data: list[Judgment]
    usage: Usage = Usage()


class JudgePrompts(Contract):
    """Answer of `POST /v1/rubrics/{id}/prompt`: the conversation that would be judged for each item, in order."""

    rubric: str
    messages: list[list[Message]]
