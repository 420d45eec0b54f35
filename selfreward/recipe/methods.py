"""The recipe's sections that one method alone reads: `[meta]`, `[constitution]` and `[process]`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from selfreward.contracts.base import Contract
from selfreward.contracts.training import Consistency


class MetaJudging(Contract):
    """How method `meta_rewarding` makes judge pairs (Wu et al. 2024, 2407.19594, section 2.1).

    `rubric` (of kind `meta`) and the sampling are of the meta-judge. `judge_iterations`: the first rounds, that many,
    train the judge too; the paper stops after 2 of 4, since the judge's scores saturate. `positions`: whether the
    weights against position bias are of all verdicts of the round or of each prompt's own (the paper does not say).
    `ridge` keeps the ratings finite where one judgment wins everything. `max_chosen_length`: a pair whose chosen
    judgment has more characters is dropped, since meta-judges like long ones (the paper's figure is not known).
    `share`: judge pairs at most, as a share of the round's actor pairs.
    """

    rubric: str = "meta"
    temperature: float = Field(default=0.8, ge=0, le=2)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1, le=8192)
    judge_iterations: int = Field(default=2, ge=0)
    positions: Literal["round", "prompt"] = "round"
    ridge: float = Field(default=0.1, gt=0)
    max_chosen_length: int | None = Field(default=None, ge=1)
    share: float = Field(default=1.0, gt=0, le=4)


class ByConstitution(Contract):
    """How method `constitutional` revises and prefers answers (Bai et al. 2022, 2212.08073, sections 3 and 4).

    `revisions`: how often an answer is criticised and written again before it trains M1 (about 4 in the paper, as our
    notes have it). `rubric` (of kind `constitution`) and the sampling are of the comparisons; `principles`: by how many
    of the constitution's principles, drawn for each prompt, every two answers are compared.
    `soft_labels`: pairs train with the probability that the chosen answer is better, not as certain. `clamp`: the least
    and the greatest such probability; the paper's for a judge that reasons first, and is too sure then, is [0.4, 0.6].
    """

    revisions: int = Field(default=4, ge=1, le=16)
    rubric: str = "constitution"
    principles: int = Field(default=1, ge=1, le=64)
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.9, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1, le=8192)
    soft_labels: bool = True
    clamp: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _clamp_around_half(self) -> Self:
        if self.clamp is None:
            return self
        low, high = self.clamp
        if not 0 <= low < 0.5 < high <= 1:
            raise ValueError(f"clamp=[{low:g}, {high:g}] is not around 0.5 within 0 to 1: give for example [0.4, 0.6]")
        if not self.soft_labels:
            raise ValueError(f"clamp=[{low:g}, {high:g}] is for soft labels: leave it out with soft_labels=false")
        return self


class StepJudging(Contract):
    """How two candidate steps are compared: by which rubric (of kind `pairwise`), with how many votes in each order."""

    rubric: str = "pairwise"
    votes: int = Field(default=1, ge=1, le=64)
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.9, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1, le=8192)


class ByStep(Contract):
    """How method `process` finds an answer step by step (process-based self-rewarding, 2503.03746).

    `separator`: the text that ends every step but the last, such as `"\\nStep"` in `Step 1: ...`, or `" ;"`.
    `max_steps`: after so many the answer is left unfinished. `judging`: how the model compares candidates, which the
    recipe's `sampling` samples: `n` for each step (the paper's 6, at T = 0.5 and p = 0.95), of `max_tokens` at most.

    `backtracks`: how often a search goes back a step, where no candidate beats more of the others than another does.
    After that the answer goes on with the first one, and there is no pair of that step. The paper goes back as often as
    it has to; a model that is sure of what it says would never come to an end, so there is a bound, and it is ours.
    """

    separator: str = Field(default="\nStep", min_length=1)
    max_steps: int = Field(default=20, ge=1, le=100)
    backtracks: int = Field(default=3, ge=0, le=100)
    judging: StepJudging = StepJudging()

    @property
    def most_steps(self) -> int:
        """Steps that a search samples at most: each time that it goes back it drops two of them, or the first one."""
        return self.max_steps + 2 * self.backtracks

    @model_validator(mode="after")
    def _survives_a_template(self) -> Self:
        if self.separator != self.separator.rstrip():
            raise ValueError(
                f"separator={self.separator!r} ends with a blank, which chat templates cut off where an answer is "
                "continued: end it with the next step's first word, for example '\\nStep'"
            )
        return self


class Cream(Contract):
    """CREAM (2410.12735). `soft_labels`: the probability that a pair's chosen answer is better is the mean consistency
    of the whole round (`average`, the paper's default) or that of the pair's own prompt (`dynamic`).
    """

    soft_labels: Literal["average", "dynamic"] = "average"


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
