"""Reinforcement learning on the model's own verdicts: what a recipe and a job say, and the record of each answer.

Self Rewarding Self Improving (2505.08827). The paper's text could not be read; 2026 surveys call its algorithm GRPO,
one summary PPO, so both are here.
"""

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from selfreward.contracts.base import Contract, Message
from selfreward.contracts.optimisation import Optimisation


class PpoHyper(Contract):
    """What PPO alone has: its value head and generalised advantage estimation (Schulman et al. 2017, 2016).

    There is no discount: the only reward of an answer comes at its end.
    """

    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    value_weight: float = Field(default=0.1, gt=0)
    value_clip: float = Field(default=0.2, gt=0)


class RlHyper(Optimisation):
    """Policy gradient with the reward of a verdict, 1 or 0.

    `group` answers are sampled to each prompt at `temperature`, of at most `max_tokens`; `batch_size` counts answers, a
    multiple of `group`. Each batch of answers is trained on `updates` times, within `clip` of the policy that wrote it,
    and `beta` holds the policy to the model that it starts from by a KL penalty (GRPO: 2402.03300, 4.1.1).
    """

    algorithm: Literal["grpo", "rloo", "ppo"] = "grpo"
    learning_rate: float = Field(default=1e-6, gt=0, le=1)
    batch_size: int = Field(default=64, ge=2)
    group: int = Field(default=8, ge=2, le=256)
    temperature: float = Field(default=1.0, gt=0, le=2)
    max_tokens: int = Field(default=512, ge=1, le=32768)
    updates: int = Field(default=1, ge=1, le=16)
    clip: float = Field(default=0.2, gt=0, lt=1)
    beta: float = Field(default=0.04, ge=0)
    ppo: PpoHyper = PpoHyper()

    @model_validator(mode="after")
    def _whole_groups(self) -> Self:
        if self.batch_size % self.group:
            raise ValueError(
                f"batch_size={self.batch_size} is not a multiple of group={self.group}: give whole groups of answers"
            )
        return self

    @model_validator(mode="after")
    def _only_what_the_algorithm_uses(self) -> Self:
        if self.algorithm != "ppo" and self.ppo != PpoHyper():
            raise ValueError(f"the section `ppo` is for algorithm='ppo': leave it out with {self.algorithm!r}")
        return self


class VerdictRules(Contract):
    """When an answer counts as correct.

    `answer_format`: a regular expression that the whole answer, without its reasoning and tags, has to match before the
    judge is asked; where it has a group `answer`, the judge sees that alone. `correct_from`: the judge's score, in the
    rubric's points, from which an answer is correct: 1 with the rubric `binary`.
    """

    answer_format: str = r"(?s).+"
    correct_from: float = 1.0

    @field_validator("answer_format")
    @classmethod
    def _compiles(cls, given: str) -> str:
        try:
            re.compile(given)
        except re.error as error:
            raise ValueError(f"{given!r} is not a regular expression: {error}") from None
        return given


class OwnVerdicts(VerdictRules):
    """The recipe's `[verdicts]`. `judge`: M1 judges every round (`anchor`, a frozen judge), or each round is judged by
    the model that it starts from (`previous`).

    Only questions train whose answers pass at a rate strictly between `min_pass_rate` and `max_pass_rate`, by the
    verdicts of the model that is about to be trained: where all answers get one reward there is nothing to learn.
    """

    judge: Literal["anchor", "previous"] = "anchor"
    min_pass_rate: float = Field(default=0.0, ge=0, lt=1)
    max_pass_rate: float = Field(default=1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _some_rates(self) -> Self:
        if self.min_pass_rate >= self.max_pass_rate:
            raise ValueError(
                f"min_pass_rate={self.min_pass_rate:g} leaves nothing below max_pass_rate={self.max_pass_rate:g}: "
                "lower the one or raise the other"
            )
        return self


class JobVerdicts(VerdictRules):
    """Whom a job asks for verdicts, and where it writes what it was told.

    `policy` pins the judging version for the whole job. `patience_s`: how long a judge may be away before this attempt
    at the job fails. `samples`: artifact of all sampled answers, one `Sample` a row.
    """

    rubric: str
    votes: int = Field(ge=1, le=64)
    temperature: float = Field(ge=0, le=2)
    top_p: float = Field(gt=0, le=1)
    max_tokens: int = Field(ge=1, le=8192)
    policy: str
    patience_s: float = Field(default=900.0, ge=0)
    samples: str


class Question(Contract):
    """A row of an RL job's dataset, in TRL's conversational shape. `pass_rate`: of the probe's answers, 0 to 1."""

    prompt_id: str
    prompt: list[Message] = Field(min_length=1)
    pass_rate: float | None = None


class Sample(Contract):
    """One sampled answer of an RL job: what trained step `step` (from 1), and how it was rewarded.

    `answer` is what the judge saw; None where the format gate refused the text. `score` is the judge's, in rubric
    points, None where it could not be read, and `reward` 1 or 0.
    """

    step: int = Field(ge=1)
    prompt_id: str
    prompt: str
    text: str
    answer: str | None
    score: float | None
    reward: int = Field(ge=0, le=1)
    judge_version: str | None = None
