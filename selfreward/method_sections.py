"""The recipe's sections that one method alone reads: `[meta]`."""

from typing import Literal

from pydantic import Field

from selfreward.contracts import Contract


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
