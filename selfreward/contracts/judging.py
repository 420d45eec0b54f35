"""The wire contracts of the loop: what a rollout, a vote, a judgment and a preference pair are.

Every service validates what it receives and sends with these models. Unknown fields are refused, so that a
misspelt field is an error that names it and never a silently ignored setting.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Contract(BaseModel):
    """Base of everything that crosses a process boundary: immutable, unknown fields refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Message(Contract):
    """One chat turn."""

    role: Literal["system", "user", "assistant"]
    content: str


def as_messages(prompt: "str | Sequence[Message]") -> list[Message]:
    """A bare string is one user turn; a list of messages is itself."""
    if isinstance(prompt, str):
        return [Message(role="user", content=prompt)]
    return list(prompt)


class Response(Contract):
    """One sampled answer. `tokens` counts completion tokens; `finish_reason` is the engine's own word."""

    text: str
    finish_reason: str | None = None
    tokens: int = Field(default=0, ge=0)


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


class Match(Contract):
    """One comparison of two texts of a rollout: of two answers or, where there is one answer, of two votes on it.

    `first` and `second` are their places, in the order shown. `outcome` is 1 when the first wins, -1 when the second
    does, and 0 for a tie or where `status` says that there is no verdict. `p_first`: the judge's own probability of the
    first (0 to 1), where the engine gave it. `principle` is what was judged by, where there is one.
    """

    first: int = Field(ge=0)
    second: int = Field(ge=0)
    outcome: Literal[-1, 0, 1]
    status: VoteStatus = "ok"
    p_first: float | None = Field(default=None, ge=0, le=1)
    principle: str | None = None
    text: str = ""


class Step(Contract):
    """One step of an answer that was found step by step: its sampled candidates, and how they were compared.

    The places of `matches` are those of `candidates`. `chosen` is the one that the answer goes on with; None where none
    can be used, which ends the search. `dropped`: the search went back before this step, so that the answer has nothing
    of it; `chosen` is None then where it never went on from here, since no candidate had won.
    """

    candidates: list[Response]
    matches: list[Match] = []
    chosen: int | None = Field(default=None, ge=0)
    dropped: bool = False


class Rollout(Contract):
    """All answers to one prompt by one policy version, and one judgment for each (empty when not asked for).

    `matches` are comparisons, where the method asks for them. `steps` are how the only answer was found, where it was
    found step by step: all of them in the order in which they were sampled, the dropped ones too.
    """

    key: str
    run: str
    stage: str
    prompt_id: str
    prompt: list[Message]
    policy_version: str
    responses: list[Response]
    judgments: list[Judgment] = []
    matches: list[Match] = []
    steps: list[Step] = []
    judge_version: str | None = None
    rubric: str | None = None

    @model_validator(mode="after")
    def _one_judgment_each(self) -> Self:
        if self.judgments and len(self.judgments) != len(self.responses):
            raise ValueError(
                f"judgments has {len(self.judgments)} entries for {len(self.responses)} responses: "
                "give one judgment for each response, in the same order"
            )
        return self


class PreferencePair(Contract):
    """One row of DPO data in TRL's conversational shape plus where it came from.

    `kind`: `actor` (two answers to a prompt) or `judge` (two judgments of one answer). A pair that nobody judged, of a
    demonstration and an answer, has scores 1 and 0, no votes, and an empty `judge_version` and `rubric`; where implicit
    rewards chose the answers, these are its scores, in nats. `weight` is the probability that the chosen answer is
    better, for methods with soft labels; None is a hard label.

    With `separator` the two texts are the next step of an answer, whose beginning is the prompt's last message where it
    is the assistant's. A step that ends with the separator is not the last: it has no end of turn.
    """

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    kind: Literal["actor", "judge"] = "actor"
    prompt_id: str
    score_chosen: float
    score_rejected: float
    votes_chosen: list[float | None] = []
    votes_rejected: list[float | None] = []
    weight: float | None = Field(default=None, ge=0, le=1)
    separator: str | None = Field(default=None, min_length=1)
    policy_version: str
    judge_version: str
    rubric: str

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.score_chosen > self.score_rejected:
            raise ValueError(
                f"score_chosen={self.score_chosen} is not above score_rejected={self.score_rejected}: drop ties"
            )
        return self

    @model_validator(mode="after")
    def _one_step_each(self) -> Self:
        if self.separator is not None and not len(self.chosen) == len(self.rejected) == 1:
            raise ValueError(
                f"separator={self.separator!r} is of pairs of steps, with one message each: chosen has "
                f"{len(self.chosen)} and rejected {len(self.rejected)}"
            )
        return self

    @property
    def margin(self) -> float:
        """Score gap, always above zero, in rubric points."""
        return self.score_chosen - self.score_rejected


def content_key(*parts: object) -> str:
    """A 32-hex-digit idempotency key over JSON-serialisable parts; equal parts give equal keys anywhere."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
