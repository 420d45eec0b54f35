"""The data of a round: rollouts, and the preference pairs that are built from them."""

from typing import Literal, Self

from pydantic import Field, model_validator

from selfreward.contracts.base import Contract, Message
from selfreward.contracts.judging import Judgment, VoteStatus


class Response(Contract):
    """One sampled answer. `tokens` counts completion tokens; `finish_reason` is the engine's."""

    text: str
    finish_reason: str | None = None
    tokens: int = Field(default=0, ge=0)


class Match(Contract):
    """One comparison of two texts of a rollout: two answers, or two votes on the only answer.

    `first` and `second` are their places, in the order shown. `outcome` is 1 if the first wins, -1 if the second wins,
    and 0 for a tie or without a verdict (`status`). `p_first`: the judge's probability of the first (0 to 1), if the
    engine gives one. `principle`: the principle of the comparison, if there is one.
    """

    first: int = Field(ge=0)
    second: int = Field(ge=0)
    outcome: Literal[-1, 0, 1]
    status: VoteStatus = "ok"
    p_first: float | None = Field(default=None, ge=0, le=1)
    principle: str | None = None
    text: str = ""


class Step(Contract):
    """One step of a search for an answer: its sampled candidates and their comparisons.

    The places in `matches` are those of `candidates`. `chosen` is the candidate that continues the answer; None if no
    candidate is usable, which ends the search. `dropped`: the search went back before this step, so the step is not
    part of the answer. A dropped step has `chosen` None if no candidate won.
    """

    candidates: list[Response]
    matches: list[Match] = []
    chosen: int | None = Field(default=None, ge=0)
    dropped: bool = False


class Rollout(Contract):
    """All answers to one prompt by one policy version, and one judgment for each (none if none were asked for).

    `matches` are comparisons, if the method asks for them. `steps` are all steps of the search for the only answer, in
    the order in which they were sampled, with the dropped ones.
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
    """One row of DPO data in TRL's conversational shape, with its origin.

    `kind`: `actor` (two answers to a prompt) or `judge` (two judgments of one answer). A pair without a judge has the
    scores 1 and 0, or implicit rewards in nats if these chose the answers, no votes, and an empty `judge_version` and
    `rubric`. `weight` is the probability that the chosen answer is better, for methods with soft labels; None is a hard
    label.

    With `separator` the two texts are next steps of an answer. The beginning of the answer is the prompt's last
    message, if that is the assistant's. A step that ends with the separator is not the last step, so no end of turn
    follows it.
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


class ResponseLogprobs(Contract):
    """Log-probabilities of one answer of a rollout under several checkpoints. Rows may be in any order.

    `prompt_id` and `index`, which counts the rollout's responses from 0, identify the answer. `tokens` counts the
    answer's tokens with the end of turn. `logprobs` has the sum of these tokens' log-probabilities by the checkpoint's
    artifact name, in nats.
    """

    prompt_id: str
    index: int = Field(ge=0)
    tokens: int = Field(ge=1)
    logprobs: dict[str, float] = Field(min_length=1)
