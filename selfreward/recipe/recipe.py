"""Recipes: one TOML file that specifies a run completely.

Precedence, weakest first: the defaults here, the TOML file, the environment (`SELFREWARD_RECIPE__sampling__n=8`),
dotted overrides (`sampling.n=8`). Unknown keys are refused with their path.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from selfreward.contracts.base import Contract, content_key
from selfreward.contracts.optimisation import Sharding, check_sharding
from selfreward.contracts.training import DpoHyper, SftHyper
from selfreward.recipe.rounds import Loop, Pairs, Prompts
from selfreward.recipe.watchdogs import Watchdogs


class RecipeError(ValueError):
    """A recipe that cannot be used; the message names each key, its value and the remedy.

    `key` is the dotted name of the first wrong key, None where it is not known.
    """

    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class Data(Contract):
    """Input files (JSON Lines), relative to the working directory or absolute.

    `ift` rows `{"prompt", "response"}`; `eft` and `eft_eval` rows `{"prompt", "responses": [{"text", "rank"}]}`
    with rank 1 the best; `prompts` and `heldout` rows `{"prompt"}`. With method `dno` the rows of `prompts` also have a
    teacher's `response`. `constitution` is a TOML file (`selfreward/loop/constitution.py`) for method `constitutional`.
    """

    ift: str
    eft: str | None = None
    eft_eval: str | None = None
    prompts: str | None = None
    heldout: str
    constitution: str | None = None


class Sampling(Contract):
    """How the policy answers (Yuan et al. 2024, 2.2: N=4, T=0.7, p=0.9)."""

    n: int = Field(default=4, ge=1, le=64)
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.9, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1, le=32768)


class Judging(Contract):
    """How answers are judged (Yuan et al. 2024, 2.2: 3 votes at the sampling parameters).

    `annotator`: `policy`, the version that wrote the answers, or `engine`, the model that the judge's engine serves
    (`SELFREWARD_JUDGE_ENGINE_URL`), such as the outside annotator of DNO (2404.03715).
    """

    annotator: Literal["policy", "engine"] = "policy"
    rubric: str = "additive5"
    votes: int = Field(default=3, ge=1, le=64)
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.9, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1, le=8192)


class EftBuilding(Contract):
    """How judge training data is made (Yuan et al. 2024, 3.1.1): the SFT baseline judges human-ranked responses,
    judgments that agree with the human ranking are kept, and the most common score is down-sampled.

    `judgments`: votes per response. `cap_ratio`: the most common score may be at most this times the second most
    common. `max_rows`: rows kept after that, 0 for all.
    """

    judgments: int = Field(default=4, ge=1, le=64)
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.9, gt=0, le=1)
    cap_ratio: float = Field(default=1.0, ge=1)
    max_rows: int = Field(default=0, ge=0)


class EvaluationPlan(Contract):
    """How each model is evaluated for the report. The model judges its answers to `judged_prompts` held-out prompts.

    `temperature` and `top_p` of the sampled answers, and `judging`, default to those of the rounds. Set them to compare
    methods whose rounds sample or judge differently.
    """

    prompts: int = Field(default=1000, ge=1)
    samples: int = Field(default=4, ge=1, le=64)
    judged_prompts: int = Field(default=256, ge=0)
    bootstrap: int = Field(default=1000, ge=100)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    judging: Judging | None = None


class Retention(Contract):
    """Which data a run keeps (docs/limits.md); by default all.

    `keep_checkpoints`: keep the weights of that many newest models, and those that are still needed. `keep_rollouts`:
    keep the answers and judgments of that many newest rounds. Manifests, pairs, evaluation and the report are always
    kept.
    """

    keep_checkpoints: int | None = Field(default=None, ge=1)
    keep_rollouts: int | None = Field(default=None, ge=1)


class Trainer(Contract):
    """Training resources: the number of processes, one for each GPU, and how the model is split over them."""

    world_size: int = Field(default=1, ge=1, le=4096)
    sharding: Sharding = "none"


class Recipe(Contract):
    """A run, without the tables of single methods, which `selfreward.loop.load.RunRecipe` adds."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,40}$")
    method: str
    """How a round's training data is made: `selfreward/loop/methods/`."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    model: str
    """Base model: a checkpoint folder in Hugging Face layout."""
    data: Data
    sampling: Sampling = Sampling()
    judging: Judging = Judging()
    eft: EftBuilding = EftBuilding()
    prompts: Prompts = Prompts()
    pairs: Pairs = Pairs()
    loop: Loop = Loop()
    baseline_sft: SftHyper = SftHyper()
    sft: SftHyper = SftHyper()
    dpo: DpoHyper = DpoHyper()
    trainer: Trainer = Trainer()
    evaluation: EvaluationPlan = EvaluationPlan()
    watchdogs: Watchdogs = Watchdogs()
    retention: Retention = Retention()

    @model_validator(mode="after")
    def _data_for_what_is_asked(self) -> Self:
        if self.loop.use_eft and not self.data.eft:
            raise ValueError("data.eft is missing: give the human-ranked responses, or set loop.use_eft=false")
        if self.pairs.judge_pairs and not self.loop.use_eft:
            raise ValueError(f"pairs.judge_pairs={self.pairs.judge_pairs} needs EFT data: set loop.use_eft=true")
        rollbacks = [name for name, entry in self.watchdogs.by_name.items() if entry.action == "rollback"]
        if rollbacks and not self.data.eft_eval:
            raise ValueError(
                f"watchdogs.{rollbacks[0]}.action='rollback' needs data.eft_eval: only people's ranks say which model "
                "is best; give that file, or choose 'pause'"
            )
        return self

    @model_validator(mode="after")
    def _sharded_where_it_can_be(self) -> Self:
        if self.trainer.sharding != "none":
            check_sharding((self.baseline_sft, self.sft, self.dpo), self.trainer.world_size)
        return self

    @property
    def evaluation_sampling(self) -> Sampling:
        """How answers are sampled for the report."""
        values = {name: getattr(self.evaluation, name) for name in ("temperature", "top_p")}
        overrides = {name: value for name, value in values.items() if value is not None}
        return self.sampling.model_copy(update={**overrides, "n": self.evaluation.samples})

    @property
    def evaluation_judging(self) -> Judging:
        """How answers are judged for the report."""
        return self.evaluation.judging or self.judging

    @property
    def hash(self) -> str:
        """Identity of the resolved recipe."""
        return content_key(self.model_dump(mode="json"))
