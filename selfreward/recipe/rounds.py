"""The recipe's `[prompts]`, `[pairs]` and `[loop]`: a round's prompts, its pair rules, and its starting model."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from selfreward.contracts.base import Contract


class SelfInstruct(Contract):
    """New prompts from a fixed model (Yuan et al. 2024, 2.2), with 8 demonstrations: 6 from IFT and 2 generated."""

    temperature: float = Field(default=0.6, ge=0, le=2)
    top_p: float = Field(default=0.9, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1)
    rouge_max: float = Field(default=0.7, gt=0, le=1)
    min_words: int = Field(default=4, ge=1)
    max_words: int = Field(default=150, ge=1)
    max_requests: int = Field(default=20_000, ge=1)


class Prompts(Contract):
    """Where an iteration's prompts come from: `file` (a disjoint slice of `data.prompts` each) or `self_instruct`."""

    source: Literal["file", "self_instruct"] = "file"
    per_iteration: int = Field(default=1000, ge=1)
    self_instruct: SelfInstruct = SelfInstruct()


class Pairs(Contract):
    """Pair selection. `margin`: the smallest gap of mean scores, in rubric points (0: any gap above zero).

    A prompt gives no pair if its best answer scores below `min_chosen_score` or its worst above `max_rejected_score`;
    without these keys every score is accepted. With method `dno` they apply to each chosen and each rejected answer,
    and `own_margin` is the margin where the chosen answer is the model's own, not the teacher's.

    `length_control`: rho of Meta-Rewarding (2407.19594, section 2.1), against growing answers. The shortest answer with
    a score near the best is chosen, the longest answer with a score near the worst is rejected; near is within this
    share of the prompt's score range. The paper tunes rho from 0, which takes the best and the worst, to 0.4; from 0.5
    the two groups overlap. A list has a value for each round.

    `chosen_truncated`: whether an answer that ended at the token limit may be chosen. It may always be rejected.

    `judge_pairs`: pairs of judgments in each DPO round, as a share of the actor pairs. They come from EFT building: a
    baseline judgment that agrees with the human ranking over one that does not. They maintain the judge role while the
    actor role is trained, as Meta-Rewarding's judge pairs do (2407.19594, section 2.1).
    """

    margin: float = Field(default=0.0, ge=0)
    min_chosen_score: float | None = None
    max_rejected_score: float | None = None
    own_margin: float | None = Field(default=None, ge=0)
    length_control: float | list[float] = 0.0
    chosen_truncated: bool = False
    judge_pairs: float = Field(default=0.0, ge=0, le=4)

    @field_validator("length_control")
    @classmethod
    def _groups_apart(cls, value: float | list[float]) -> float | list[float]:
        for rho in value if isinstance(value, list) else [value]:
            if not 0 <= rho < 0.5:
                raise ValueError(f"length_control={rho:g} is not from 0 to below 0.5: lower it, 0 switches it off")
        return value

    def rho(self, index: int) -> float:
        """`length_control` in the round `index`, 0 for the first one."""
        return self.length_control[index] if isinstance(self.length_control, list) else self.length_control


class Loop(Contract):
    """`iterations` rounds after M1. `init_from`: a round starts from the previous model (the paper) or from M1.

    `train_on`: `pairs` by DPO, or `positives`, the ablation of Yuan et al. 2024: SFT of M0 on the seed data and the
    chosen answers of the round's pairs, without the rejected ones. `pairs.min_chosen_score` is then the score that an
    answer needs (the paper adds answers with full marks).

    `start_from`: another run of this orchestrator. This run takes over its M0, SFT and M1, their evaluation and the
    data of M1, so that several runs start from the same model and can be compared.

    `replay`: the shares of the pairs of the previous round, of the round before it, ... that train again with the new
    pairs, against forgetting: `[1.0]` in SPIN (2401.01335), `[0.3, 0.15]` in DNO (2404.03715).

    `measure_consistency`: for any method, score each round's answers under the policy, the model before it and M0, and
    record how far the rankings by the first two agree (CREAM, 2410.12735), and how far the judge agrees. `cream` and
    `scir` always do so.
    """

    iterations: int = Field(default=2, ge=0, le=100)
    init_from: Literal["previous", "anchor"] = "previous"
    use_eft: bool = True
    train_on: Literal["pairs", "positives"] = "pairs"
    replay: list[Annotated[float, Field(gt=0, le=1)]] = []
    start_from: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9._-]{0,80}$")
    measure_consistency: bool = False

    @model_validator(mode="after")
    def _only_what_positives_use(self) -> Self:
        if self.train_on == "positives" and self.init_from != "previous":
            raise ValueError(
                "loop.init_from is for DPO: leave it out with loop.train_on='positives', which starts from M0"
            )
        if self.train_on == "positives" and self.replay:
            raise ValueError("loop.replay is for DPO: leave it out with loop.train_on='positives'")
        return self
