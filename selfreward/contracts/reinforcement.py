"""Reinforcement learning on the model's own verdicts: settings of recipes and jobs, and the record of each answer.

Self Rewarding Self Improving (2505.08827). We had no text of the paper. Surveys of 2026 call its algorithm GRPO, one
summary calls it PPO, so both are implemented.
"""

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from selfreward.contracts.base import Contract, Message
from selfreward.contracts.optimisation import Optimisation


class PpoHyper(Contract):
    """Settings of PPO alone: value head and generalised advantage estimation (Schulman et al. 2017, 2016).

    There is no discount, since an answer's only reward comes at its end.
    """

    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    value_weight: float = Field(default=0.1, gt=0)
    value_clip: float = Field(default=0.2, gt=0)


class RlHyper(Optimisation):
    """Policy gradient with the reward of a verdict, 1 or 0.

    `group` answers are sampled to each prompt at `temperature`, with at most `max_tokens`. `batch_size` counts answers
    and is a multiple of `group`. Each batch is trained on `updates` times, with probability ratios clipped at `clip`.
    `beta` weighs the KL penalty against the starting model (GRPO: 2402.03300, 4.1.1).
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

    `answer_format`: a regular expression that the whole answer, without reasoning and tags, must match before it is
    judged. If the expression has a group `answer`, the judge sees that group alone. `correct_from`: the least score of
    a correct answer, in rubric points; 1 with the rubric `binary`.
    """

    answer_format: str = r"(?s).+"
    correct_from: float = 1.0

    @field_validator("answer_format")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
        return pattern


class OwnVerdicts(VerdictRules):
    """The recipe's `[verdicts]`. `judge`: M1 judges every round (`anchor`, a frozen judge), or the model that a round
    starts from judges the round (`previous`).

    A question trains only if the pass rate of its answers, by the verdicts of the model before the training, is
    strictly between `min_pass_rate` and `max_pass_rate`. Answers with equal rewards have no advantage to learn from.
    """

    judge: Literal["anchor", "previous"] = "anchor"
    min_pass_rate: float = Field(default=0.0, ge=0, lt=1)
    max_pass_rate: float = Field(default=1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _some_rates(self) -> Self:
        if self.min_pass_rate >= self.max_pass_rate:
            raise ValueError(
                f"min_pass_rate={self.min_pass_rate:g} leaves nothing below max_pass_rate={self.max_pass_rate:g}: "
                "lower min_pass_rate or raise max_pass_rate"
            )
        return self


class JobVerdicts(VerdictRules):
    """How a job asks for verdicts, and where it writes the sampled answers.

    `policy` pins the judging version for the whole job. `patience_s`: how long the judge may be unreachable before this
    attempt at the job fails. `samples`: artifact of all sampled answers, one `Sample` a row.
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
    """A row of an RL job's dataset, in TRL's conversational shape. `pass_rate`: the share of correct answers in
    the probe, 0 to 1."""

    prompt_id: str
    prompt: list[Message] = Field(min_length=1)
    pass_rate: float | None = None


class Sample(Contract):
    """One sampled answer of an RL job, which trained step `step` (from 1), and its reward.

    `answer` is the part that the judge saw; None if the text does not match the format. `score` is the judge's score in
    rubric points; None if it could not be read. `reward` is 1 or 0.
    """

    step: int = Field(ge=1)
    prompt_id: str
    prompt: str
    text: str
    answer: str | None
    score: float | None
    reward: int = Field(ge=0, le=1)
    judge_version: str | None = None
