"""The wire contract of judging: a request of items, and for each item its votes and its judgment.

Services validate what they receive and send with these models. Unknown fields are refused, so a misspelt field is an
error that names it and never a setting that is silently ignored.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from selfreward.contracts.base import Contract, Message
from selfreward.contracts.conversations import Conversation

VoteStatus = Literal["ok", "truncated", "unparsed", "out_of_range", "refused", "too_long", "nothing_to_judge", "error"]
JudgmentStatus = Literal["ok", "partial", "unscored"]
Aggregation = Literal["mean", "median", "majority", "expected"]
MOST_VOTE_TOKENS = 131_072
"""The largest token limit of a vote. A reasoning judge's thoughts count, and take tens of thousands of tokens."""


class Vote(Contract):
    """One text that the judge sampled about one response. `score` is set exactly when `status` is `ok`.

    With `nothing_to_judge` (prompt or response say nothing) the judge was not asked, and with `too_long` the engine's
    context does not hold the item. `reason` says what is wrong with a
    vote that is not ok. `expected` is the expected score under the judge's own probabilities of the digits (only with
    aggregation `expected`). `criteria` (only by rubrics with an explicit sum) says for each criterion whether it earns
    its weight: it is met, or it is a pitfall that was avoided. `engine` (only by a jury) names the engine whose vote it
    is.
    """

    score: float | None = None
    status: VoteStatus
    text: str = ""
    finish_reason: str | None = None
    reason: str | None = None
    expected: float | None = None
    criteria: list[bool] | None = None
    constrained: bool = False
    reasoning_content: str | None = None
    engine: str | None = None

    @model_validator(mode="after")
    def _score_only_when_ok(self) -> Self:
        if (self.score is not None) != (self.status == "ok"):
            raise ValueError(f"score={self.score!r} contradicts status={self.status!r}: only an ok vote has a score")
        return self


class Judgment(Contract):
    """The result for one response: its valid votes in one number (by default their mean), or no score at all.

    `status`: `ok` if all votes are valid, `partial` if some are, `unscored` if fewer than the rubric's minimum are. A
    vote that cannot be read never counts as a number (Meta-Rewarding, 2407.19594 section 2.1, averages valid scores
    only). `stdev` is the population standard deviation of the valid scores, `agreement` the share of them (0 to 1) that
    equal the most frequent one. `disagreement` (only by a jury, of which two engines have valid votes) is the
    population standard deviation of the engines' mean scores. `failure_kind` has few values and is safe as a metric
    label; `failure_reason` is free text.
    """

    id: str
    index: int = Field(ge=0)
    score: float | None = None
    status: JudgmentStatus
    votes: list[Vote]
    stdev: float | None = None
    agreement: float | None = None
    disagreement: float | None = Field(default=None, ge=0)
    valid_votes: int = Field(ge=0)
    failure_kind: VoteStatus | None = None
    failure_reason: str | None = None


class Criterion(Contract):
    """One thing that a response shall do (a `pitfall`: shall not do), in one self-contained sentence.

    The default `weight` is 1.0 for essential, 0.7 for important, 0.3 for optional and 0.9 for pitfall (Rubrics as
    Rewards, 2507.17746).
    """

    text: str = Field(min_length=1, max_length=2000)
    label: Literal["essential", "important", "optional", "pitfall"] = "essential"
    weight: float | None = Field(default=None, gt=0, le=1000)


class JudgeItem(Contract):
    """One prompt and response to judge. The judgment has the same `id`, by default the item's position.

    `criteria` are the prompt's own criteria, for a rubric of kind `criteria`. They replace those of the rubric.
    """

    id: str | None = None
    prompt: Conversation
    response: Conversation
    reference: str | None = None
    criteria: list[Criterion] | None = Field(default=None, min_length=1, max_length=64)


class JudgeRequest(Contract):
    """Body of `POST /v1/judge`. `policy` pins the judging model's version (`policy@N`).

    Defaults of `aggregation`, `min_valid_votes` and the sampling fields are the rubric's. A truncated vote is sampled
    once more with twice the tokens, but not more than `retry_max_tokens`. Numbers must be numbers: `true` and `"3"` are
    refused.
    """

    rubric: str = "additive5"
    items: list[JudgeItem] = Field(min_length=1, max_length=1024)
    votes: int = Field(default=3, ge=1, le=64, strict=True)
    temperature: float | None = Field(default=None, ge=0, le=2, strict=True)
    top_p: float | None = Field(default=None, gt=0, le=1, strict=True)
    max_tokens: int | None = Field(default=None, ge=1, le=MOST_VOTE_TOKENS, strict=True)
    retry_max_tokens: int | None = Field(default=None, ge=1, le=MOST_VOTE_TOKENS, strict=True)
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
    """Answer of `POST /v1/judge`. `data` is in the order of the items, `rubric` is `name@sha256:<12 hex>`."""

    id: str
    rubric: str
    judge_version: str
    data: list[Judgment]
    usage: Usage = Usage()


class JudgePrompts(Contract):
    """Answer of `POST /v1/rubrics/{id}/prompt`: for each item the conversation that the judge would get, in order."""

    rubric: str
    messages: list[list[Message]]
