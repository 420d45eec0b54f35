"""What a round leaves behind: rollouts, and the preference pairs that are built from them."""

from typing import Literal, Self

from pydantic import Field, model_validator

from selfreward.contracts.base import Contract, Message
from selfreward.contracts.judging import Judgment, VoteStatus


class Response(Contract):
    """One sampled answer. `tokens` counts completion tokens; `finish_reason` is the engine's own word."""

    text: str
    finish_reason: str | None = None
    tokens: int = Field(default=0, ge=0)


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


class ResponseLogprobs(Contract):
    """What several checkpoints give one answer of a rollout; `prompt_id` and `index` say which, whatever the order.

    `index` counts the rollout's responses from 0. `tokens` are the answer's own, its end of turn included.
    `logprobs` has for each checkpoint, by artifact name, the sum of these tokens' log-probabilities, in nats.
    """

    prompt_id: str
    index: int = Field(ge=0)
    tokens: int = Field(ge=1)
    logprobs: dict[str, float] = Field(min_length=1)
