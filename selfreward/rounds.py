"""The recipe's `[pairs]` and `[loop]`: what a round is made of and what it starts from."""

from typing import Annotated, Literal

from pydantic import Field

from selfreward.contracts import Contract


class Pairs(Contract):
    """Pair selection. `margin`: smallest gap of mean scores kept, in rubric points (0: any gap above zero).

    `min_chosen_score` and `max_rejected_score` drop prompts whose best answer is below the one, or whose worst is above
    the other; left out, neither does.

    `judge_pairs`: judgments as preference pairs in each DPO round, as a share of the actor pairs. They come from EFT
    building: a baseline judgment that agrees with the human ranking over one that does not, which keeps the judge role
    alive while the actor role is trained (the role Meta-Rewarding's judge pairs play, 2407.19594 section 2.1).
    """

    margin: float = Field(default=0.0, ge=0)
    min_chosen_score: float | None = None
    max_rejected_score: float | None = None
    judge_pairs: float = Field(default=0.0, ge=0, le=4)


class Loop(Contract):
    """`iterations` rounds after M1. `init_from`: a round starts from the previous model (the paper) or from M1.

    `train_on`: `pairs` by DPO, or `positives`, the ablation of Yuan et al. 2024: M0 is fine-tuned anew on the
    seed data and the chosen answers of the round's pairs, and nothing is learned from the rejected ones. There
    `pairs.min_chosen_score` is the score that an answer needs (the paper adds those with full marks).

    `replay`: which share of the pairs of one, two, ... rounds before trains again with the new ones, against
    forgetting: `[1.0]` in SPIN (2401.01335), `[0.3, 0.15]` in DNO (2404.03715).
    """

    iterations: int = Field(default=2, ge=0, le=100)
    init_from: Literal["previous", "anchor"] = "previous"
    use_eft: bool = True
    train_on: Literal["pairs", "positives"] = "pairs"
    replay: list[Annotated[float, Field(gt=0, le=1)]] = []
