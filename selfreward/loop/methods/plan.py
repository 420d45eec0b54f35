"""The plan half of a method: which recipes it accepts, and a run's stages, phases and models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, TypeVar

from selfreward.contracts.base import Contract
from selfreward.loop import paths
from selfreward.loop.rows import IftRow, PromptRow
from selfreward.loop.stages import Kind, is_adopted, stage_number
from selfreward.recipe.recipe import Recipe, Retention
from selfreward.recipe.rounds import Pairs

Table = TypeVar("Table", bound=Contract)

_SERVED = ("train", "publish", "reload")
_WATCHED = ("evaluate", "watch_model")


class RubricUse(NamedTuple):
    """A rubric that a recipe names: the recipe's key, the rubric's name, and the kind it must have (None: any kind)."""

    key: str
    name: str
    kind: str | None = None


def table(recipe: Recipe, model: type[Table]) -> Table:
    """A method's table of the recipe. TypeError if the recipe was parsed without the methods' tables."""
    for _, value in recipe:
        if isinstance(value, model):
            return value
    raise TypeError(f"the recipe has no table {model.__name__}: parse it by selfreward.loop.load")


class Plan:
    """The half of a method that only reads the recipe. The defaults are self-rewarding's."""

    name: ClassVar[str]
    """The recipe's `method`."""
    tables: ClassVar[Mapping[str, type[Contract]]] = {}
    """The method's own tables of the recipe, by key. Every key of a table has a default."""
    prompt_row: ClassVar[type[PromptRow]] = PromptRow
    """The type of a row of `data.prompts`."""
    takes_prompts: ClassVar[bool] = True
    """Whether rounds take prompts from `data.prompts`, unless the model writes them."""
    fewest_answers: ClassVar[int] = 2
    """The fewest answers to a prompt that a round needs."""

    # ---- the recipe

    def check(self, recipe: Recipe) -> None:
        """Refuse keys that this method would not read. ValueError with key, value and remedy."""
        if recipe.sampling.n < self.fewest_answers:
            raise ValueError(
                f"sampling.n={recipe.sampling.n} leaves nothing to prefer: give {self.fewest_answers} or more"
            )
        if recipe.loop.iterations and self.needs_prompts(recipe) and not recipe.data.prompts:
            raise ValueError("data.prompts is missing: give a file, or set prompts.source='self_instruct'")
        self.check_pairs(recipe)
        self.check_data(recipe)
        if recipe.loop.use_eft and recipe.judging.annotator == "engine":
            raise ValueError(
                "loop.use_eft=true teaches a judge that judging.annotator='engine' never asks: set it to false"
            )
        self.check_training(recipe)

    def check_pairs(self, recipe: Recipe) -> None:
        """Refuse keys of `[pairs]` that the method would not read."""
        rhos, rounds = recipe.pairs.length_control, recipe.loop.iterations
        if isinstance(rhos, list) and len(rhos) != rounds:
            raise ValueError(
                f"pairs.length_control has {len(rhos)} values for loop.iterations={rounds}: give one for each round, "
                "or a single number"
            )
        if recipe.pairs.own_margin is not None:
            raise ValueError(f"pairs.own_margin is for method='dno': leave it out with method={self.name!r}")

    def check_data(self, recipe: Recipe) -> None:
        """Refuse files of `[data]` that the method would not read."""
        if recipe.data.constitution:
            raise ValueError(f"data.constitution is for method='constitutional', not {self.name!r}: leave it out")

    def check_training(self, recipe: Recipe) -> None:
        """Refuse ways to train that the method does not have."""
        if recipe.loop.train_on == "positives":
            raise ValueError(f"loop.train_on='positives' is for method='self_rewarding', not {self.name!r}")

    def needs_prompts(self, recipe: Recipe) -> bool:
        """Whether the rounds take their prompts from `data.prompts`."""
        return recipe.prompts.source == "file" and self.takes_prompts

    def check_demonstrations(self, recipe: Recipe, ift: Sequence[IftRow]) -> None:
        """Refuse too few demonstrations (`data.ift`). SeedError with key, value and remedy."""

    def rubrics(self, recipe: Recipe) -> list[RubricUse]:
        """The rubrics by which a run asks the judge."""
        uses = [RubricUse("judging.rubric", recipe.judging.rubric)]
        if recipe.evaluation.judging:
            uses.append(RubricUse("evaluation.judging.rubric", recipe.evaluation.judging.rubric))
        return uses

    def judges(self, recipe: Recipe) -> bool:
        """Whether the judge judges the answers of a round one by one, in rubric points."""
        return True

    def compares(self, recipe: Recipe) -> bool:
        """Whether the judge compares texts of a round, two by two."""
        return False

    def scores(self, recipe: Recipe) -> bool:
        """Whether a round has a `score` phase: the models' log-probabilities of its answers."""
        return recipe.loop.measure_consistency

    def answer_format(self, recipe: Recipe) -> str | None:
        """The pattern that an answer must match before it is judged (`selfreward.loop.own_verdicts`); None: any."""
        return None

    # ---- the plan

    def stages(self, recipe: Recipe) -> list[str]:
        """Names of the run's stages in order.

        M0 is the base model. SFT, the baseline, is trained on IFT data alone and writes the EFT judgments. M1 is SFT of
        M0 on IFT and EFT data, or the baseline itself without EFT. M2, M3, ... are the rounds.
        """
        return ["M0", *self.baseline(recipe), "M1", *self.rounds(recipe)]

    def baseline(self, recipe: Recipe) -> list[str]:
        """The SFT baseline, if M1 is another model."""
        return ["SFT"] if recipe.loop.use_eft else []

    def rounds(self, recipe: Recipe) -> list[str]:
        """The stages after M1."""
        return [f"M{number}" for number in range(2, recipe.loop.iterations + 2)]

    def kind(self, recipe: Recipe, stage: str) -> Kind:
        """How a stage's model is made."""
        if stage == "M0":
            return "base"
        if stage == "M1":
            return "eft" if recipe.loop.use_eft else "sft"
        return "sft" if stage == "SFT" else "round"

    def phases(self, recipe: Recipe, stage: str) -> tuple[str, ...]:
        """A stage's phases in order.

        The base model writes the Self-Instruct prompts while it is served, since it stays fixed. Neither it nor the SFT
        baseline is watched: they have not learned to judge, and the baseline's judgments count only where they agree
        with people.
        """
        kind = self.kind(recipe, stage)
        # Retention is last: only then is the best model known and are the stage's rollouts read.
        retained = ("retain",) if recipe.retention != Retention() else ()
        written = ("prompts",) if self.writes_prompts(recipe, stage) and kind == "base" else ()
        if is_adopted(recipe, stage):
            return ("adopt", *written)
        if kind == "base":
            # What the loop has to beat: its answers are evaluated, and it judges nothing (`evaluation_tasks`).
            return (*_SERVED, _WATCHED[0], *written)
        if kind == "sft":
            return (*_SERVED, *(_WATCHED + retained if stage == "M1" else _WATCHED[:1]))
        # Stages with data: make it, train, evaluate.
        evaluated = self.evaluation_phases(recipe, stage)
        return (*self.data_phases(recipe, stage), *_SERVED, *evaluated, *(retained if evaluated else ()))

    def data_phases(self, recipe: Recipe, stage: str) -> tuple[str, ...]:
        """The phases that make a stage's training data."""
        if self.kind(recipe, stage) == "eft":
            return ("rollouts", "pairs")
        scored = ("score",) if self.scores(recipe) else ()
        watched = ("watch_pairs",) if self.judges(recipe) or self.compares(recipe) else ()
        return ("prompts", "rollouts", *scored, "pairs", *watched)

    def evaluation_phases(self, recipe: Recipe, stage: str) -> tuple[str, ...]:
        """The phases that evaluate a stage's model."""
        return _WATCHED

    def actor(self, recipe: Recipe, stage: str, phase: str = "rollouts") -> str:
        """The stage whose model answers and judges in a phase: the previous one. LookupError for the first stage."""
        stages = self.stages(recipe)
        place = stages.index(stage)
        if not place:
            raise LookupError(f"no model is made before {stage}")
        return stages[place - 1]

    def parent(self, recipe: Recipe, stage: str) -> str:
        """The stage whose weights training starts from (Yuan et al. 2024, 1.7: a round from the model before it)."""
        if self.kind(recipe, stage) in ("sft", "eft", "revised") or recipe.loop.train_on == "positives":
            return "M0"
        return "M1" if recipe.loop.init_from == "anchor" else f"M{stage_number(stage) - 1}"

    def needs_m1(self, recipe: Recipe) -> bool:
        """Whether all rounds need M1, so that retention keeps its weights."""
        return recipe.loop.init_from == "anchor"

    def slices(self, recipe: Recipe) -> int:
        """How many slices of `prompts.per_iteration` prompts a run answers."""
        return recipe.loop.iterations

    def slice_index(self, recipe: Recipe, stage: str) -> int:
        """Which slice of the prompts a stage takes, 0 for the first."""
        return stage_number(stage) - 2

    def answers(self, recipe: Recipe, stage: str) -> int:
        """How many answers a stage's rollout has: the sampled ones, then given ones if the method has any."""
        return recipe.sampling.n

    def inputs(self, run: str, recipe: Recipe, stage: str, phase: str) -> dict[str, str]:
        """Artifacts that a phase reads, by the key of their rows in the hook's `inputs`.

        `phase` is `prompts`, `pairs`, a phase with tasks for workers, or `audit` for everything that `violations`
        reads.
        """
        if phase == "prompts":
            return {"prompts": paths.data(run, "prompts")}
        if phase in ("pairs", "audit") and self.scores(recipe):
            return {"logprobs": paths.logprobs(run, stage)}
        if phase == "rollouts":
            ranked = self.kind(recipe, stage) == "eft"
            return {"items": paths.data(run, "eft_ranked") if ranked else paths.prompts(run, stage)}
        return {}

    def writes_prompts(self, recipe: Recipe, stage: str) -> bool:
        """Whether a model writes new prompts in a stage's phase `prompts`. By default M0 writes all of a run."""
        base = self.kind(recipe, stage) == "base"
        return base and recipe.prompts.source == "self_instruct" and recipe.loop.iterations > 0

    def rollout_stages(self, recipe: Recipe, stage: str) -> set[str]:
        """The stages whose rollouts are needed to recompute a stage's data."""
        return {stage}


def check_sigmoid(recipe: Recipe) -> None:
    """Refuse a loss without soft labels. ValueError with key, value and remedy."""
    if recipe.dpo.loss != "sigmoid" or recipe.dpo.ld_alpha is not None:
        raise ValueError(
            f"dpo.loss={recipe.dpo.loss!r} and dpo.ld_alpha={recipe.dpo.ld_alpha}: the soft labels of "
            f"method={recipe.method!r} are for the sigmoid loss without ld_alpha: leave both out"
        )


def check_no_pair_rules(recipe: Recipe, message: str, *allowed: str) -> None:
    """Refuse keys of `[pairs]`, except those `allowed`. ValueError with the message."""
    defaults = Pairs()
    if recipe.pairs.model_copy(update={key: getattr(defaults, key) for key in allowed}) != defaults:
        raise ValueError(message)
