"""The base class of methods. A method is one class that makes a round's training data; the defaults are self-rewarding.

A method is pure: it reads no file and calls no service. Each hook gets `inputs`, the rows of the artifacts that
`Method.inputs` names, so the phases of a run and the auditor call the same functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

from selfreward.contracts.base import Message
from selfreward.contracts.optimisation import Optimisation
from selfreward.contracts.rollouts import PreferencePair, ResponseLogprobs, Rollout
from selfreward.contracts.training import TrainJob
from selfreward.loop import paths
from selfreward.loop.cost import Cost, total
from selfreward.loop.methods import implicit
from selfreward.loop.methods.checks import Violation, check_logprobs, check_votes
from selfreward.loop.methods.plan import Plan
from selfreward.loop.pairing import JudgePreference, best_over_worst
from selfreward.loop.stages import replays, scorers
from selfreward.loop.tasks import (
    PromptItem,
    Task,
    answer_tasks,
    eft_tasks,
    evaluation_tasks,
    generation,
    items_of,
    make_task,
)
from selfreward.loop.train_jobs import logprobs_job, make_job, publish_job
from selfreward.recipe.recipe import Recipe

Inputs = Mapping[str, Sequence[dict[str, Any]]]
"""Rows of artifacts, by the names that `Method.inputs` gives. A missing artifact has no rows."""


@dataclass(frozen=True)
class TrainingRows:
    """Training data that is not preference pairs.

    `what` names it in an audit. `artifact` stores `rows`, `record_artifact` stores `record`. `problem` says why the
    rows cannot be trained on, with the remedy; it is empty if they can. `figures` are for people who follow the run.
    """

    what: str
    artifact: str
    rows: list[dict[str, Any]]
    record_artifact: str
    record: dict[str, Any]
    problem: str = ""
    figures: dict[str, float] = field(default_factory=dict)


class Method(Plan):
    """How a round's training data is made, and everything in a run that depends on it."""

    # ---- the data of a stage

    def prompts(self, recipe: Recipe, stage: str, inputs: Inputs) -> list[dict[str, Any]]:
        """The prompts that a stage answers: its slice of the run's prompts."""
        start = self.slice_index(recipe, stage) * recipe.prompts.per_iteration
        return list(inputs["prompts"][start : start + recipe.prompts.per_iteration])

    def tasks(self, run: str, recipe: Recipe, stage: str, phase: str, policy: str, inputs: Inputs) -> list[Task]:
        """The workers' tasks in a phase. By default n answers to each prompt, each judged with k votes.

        `policy` is the version (`policy@N`) of the model that answers and judges.
        """
        items = items_of(inputs["items"])
        if self.kind(recipe, stage) == "eft":
            return eft_tasks(run, recipe, stage, items, policy)
        return [self.rollout_task(run, recipe, stage, item, policy) for item in items]

    def rollout_task(self, run: str, recipe: Recipe, stage: str, item: PromptItem, policy: str) -> Task:
        """n answers to a prompt, judged as the recipe says if the method judges."""
        generate = generation(recipe.sampling, recipe.sampling.n)
        judge = recipe.judging if self.judges(recipe) else None
        return make_task(run, recipe, stage, "rollouts", item, policy, generate, judge, self.answer_format(recipe))

    def results(
        self, run: str, stage: str, phase: str, rollouts: Sequence[Rollout]
    ) -> tuple[str, list[dict[str, Any]]]:
        """The artifact that stores the workers' results of a phase, and its rows."""
        return paths.rollouts(run, stage), [rollout.model_dump(mode="json") for rollout in rollouts]

    def figures(self, phase: str, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """Figures of the workers' results of a phase, for people who follow the run."""
        return {}

    def evaluation_tasks(
        self,
        run: str,
        recipe: Recipe,
        stage: str,
        heldout: Sequence[PromptItem],
        ranked: Sequence[PromptItem],
        policy: str,
    ) -> list[Task]:
        """The tasks that evaluate a model for the report. The base model answers only: it has not learned to judge."""
        if self.kind(recipe, stage) == "base":
            return answer_tasks(run, recipe, stage, heldout, policy)
        return evaluation_tasks(run, recipe, stage, heldout, ranked, policy, self.answer_format(recipe))

    # ---- what trains a stage

    def pairs(
        self, recipe: Recipe, rollouts: Sequence[Rollout], inputs: Inputs
    ) -> tuple[list[PreferencePair], dict[str, int]]:
        """The actor pairs of a round, and the number of rollouts by outcome (`selfreward.loop.pairing.OUTCOMES`).

        By default the best-scored answer to a prompt over the worst (Yuan et al. 2024, 2.2). Missing outcomes count 0.
        """
        return best_over_worst(rollouts, recipe.pairs, recipe.seed)

    def positives(
        self, run: str, recipe: Recipe, stage: str, actor: list[PreferencePair]
    ) -> tuple[str, list[dict[str, Any]]] | None:
        """An artifact and its SFT rows that replace the pairs in training; None where the pairs train."""
        return None

    def training_rows(
        self, run: str, recipe: Recipe, stage: str, rollouts: Sequence[Rollout], inputs: Inputs
    ) -> TrainingRows | None:
        """Training data that is not preference pairs; None for preference pairs."""
        return None

    def judge_preferences(
        self, recipe: Recipe, stage: str, actor_pairs: int, inputs: Inputs
    ) -> tuple[list[JudgePreference], dict[str, Any] | None]:
        """Preferences between judgments, which train the judge, and their entry in the round's record.

        `actor_pairs` is the number of pairs of answers beside them. No entry (None) where the stage has none.
        """
        return [], None

    def monitors(self, recipe: Recipe, rollouts: Sequence[Rollout], inputs: Inputs) -> dict[str, float | None]:
        """Figures for a round's record: with log-probabilities, the agreement of two models and of the judge."""
        if not rollouts or not self.scores(recipe):
            return {}
        by = scorers(rollouts[0].run, rollouts[0].stage)
        rows = implicit.rows_by_place(logprobs_of(inputs))
        figures = implicit.monitors(rollouts, rows, by)
        return figures | (implicit.judge_agreement(rollouts, rows, by) if self.judges(recipe) else {})

    def comparisons(self, run: str, recipe: Recipe, stage: str) -> str:
        """The artifact with the rollouts whose comparisons the watchdogs check."""
        return paths.rollouts(run, stage)

    def hyperparameters(self, recipe: Recipe, stage: str) -> Optimisation:
        """The optimisation settings of a stage. LookupError for M0, which is not trained."""
        kind = self.kind(recipe, stage)
        if kind == "base":
            raise LookupError("M0 is published as it is, not trained")
        if kind == "sft":
            return recipe.baseline_sft
        return recipe.sft if kind in ("eft", "revised") else recipe.dpo

    def train_job(self, run: str, recipe: Recipe, stage: str, canary: list[Message], judge: str = "") -> TrainJob:
        """The training job of a stage. `judge`: the policy version whose verdicts are the rewards, if any."""
        kind = self.kind(recipe, stage)
        if kind == "base":
            return publish_job(run, recipe, stage, canary)
        start = {"init_from": paths.weights(run, self.parent(recipe, stage))}
        if kind in ("sft", "eft", "revised"):
            more = {"sft": [], "eft": [paths.data(run, "eft")], "revised": [paths.revisions(run)]}[kind]
            training = {"method": "sft", "sft": self.hyperparameters(recipe, stage)}
            return make_job(run, recipe, stage, canary, **start, **training, datasets=[paths.data(run, "ift"), *more])
        return make_job(run, recipe, stage, canary, **start, **self.round_training(run, recipe, stage, judge))

    def round_training(self, run: str, recipe: Recipe, stage: str, judge: str) -> dict[str, Any]:
        """Fields of a round's training job. By default DPO on its pairs and replayed pairs of earlier rounds."""
        replayed = [paths.replay(run, stage)] if replays(recipe, stage) else []
        return {"method": "dpo", "dpo": recipe.dpo, "datasets": [paths.pairs(run, stage), *replayed]}

    def training_judge(self, recipe: Recipe, stage: str) -> str | None:
        """The stage whose model judges during a stage's training, since its verdicts are the reward; or None."""
        return None

    def score_job(self, run: str, recipe: Recipe, stage: str, canary: list[Message]) -> TrainJob:
        """The job that computes the log-probabilities of a round's answers under several models."""
        return logprobs_job(run, recipe, stage, canary, astuple(scorers(run, stage)), [paths.rollouts(run, stage)])

    # ---- the cost in tokens

    def cost(self, recipe: Recipe, stage: str) -> Cost:
        """The most tokens that a round takes. 0 for other stages, whose cost the recipe alone does not determine."""
        if self.kind(recipe, stage) not in ("round", "future"):
            return Cost()
        prompts = recipe.prompts.per_iteration
        texts, judged = self.judging_per_prompt(recipe, stage)
        answered = self.answers_per_prompt(recipe, stage) * recipe.sampling.max_tokens
        return Cost(prompts, prompts * answered, prompts * texts, prompts * judged)

    def answers_per_prompt(self, recipe: Recipe, stage: str) -> int:
        """How many answers of full length a stage samples to a prompt."""
        return recipe.sampling.n

    def judging_per_prompt(self, recipe: Recipe, stage: str) -> tuple[int, int]:
        """How many texts the judge reads for a prompt, and the most tokens that it writes about them."""
        if not self.judges(recipe):
            return 0, 0
        answers = self.answers(recipe, stage)
        return answers, answers * recipe.judging.votes * recipe.judging.max_tokens

    def rows_per_prompt(self, recipe: Recipe, stage: str) -> float:
        """The most training rows that a prompt gives a round, with judge pairs."""
        return self.pairs_per_prompt(recipe) * (1 + recipe.pairs.judge_pairs)

    def pairs_per_prompt(self, recipe: Recipe) -> float:
        """The most actor pairs that a prompt gives."""
        return 1

    def tokens(self, recipe: Recipe, eft_answers: int, eval_answers: int) -> int:
        """Upper bound of the tokens that a run generates, with judgments, without repeats after failures.

        `eft_answers` and `eval_answers` are the numbers of human-ranked answers in `data.eft` and `data.eft_eval`.
        """
        # The rounds.
        stages = self.stages(recipe)
        cost = total(self.cost(recipe, stage) for stage in stages)
        tokens = cost.answered + cost.judged
        # Evaluation: sampled answers and a greedy one to each prompt, judgments of some of them and of ranked answers.
        # M0 answers only.
        evaluation, judging = recipe.evaluation, recipe.evaluation_judging
        answers = evaluation.prompts * (evaluation.samples + 1) * recipe.sampling.max_tokens
        judgments = min(evaluation.judged_prompts, evaluation.prompts) * evaluation.samples + eval_answers
        evaluated = [stage for stage in stages if "evaluate" in self.phases(recipe, stage)]
        judging_models = sum(self.kind(recipe, stage) != "base" for stage in evaluated)
        tokens += len(evaluated) * answers + judging_models * judgments * judging.votes * judging.max_tokens
        # EFT judgments, and prompts by Self-Instruct.
        if recipe.loop.use_eft:
            tokens += eft_answers * recipe.eft.judgments * judging.max_tokens
        writing = recipe.prompts.self_instruct
        times = sum(self.writes_prompts(recipe, stage) for stage in stages)
        return tokens + times * writing.max_requests * writing.max_tokens

    # ---- the audit

    def violations(
        self, run: str, recipe: Recipe, stage: str, rollouts: Sequence[Rollout], version: str | None, inputs: Inputs
    ) -> Iterator[Violation]:
        """What is wrong with a stage's rollouts, beyond the checks for every method.

        `version` is the policy version that must have answered and judged.
        """
        name = paths.rollouts(run, stage)
        if self.judges(recipe):
            yield from check_votes(name, rollouts, version, recipe.judging.votes, recipe.judging.annotator)
        if self.scores(recipe):
            models = set(astuple(scorers(run, stage)))
            yield from check_logprobs(paths.logprobs(run, stage), rollouts, logprobs_of(inputs), models)

    def training_violations(
        self, run: str, recipe: Recipe, stage: str, judge: str | None, inputs: Inputs
    ) -> Iterator[Violation]:
        """What is wrong with the answers that a finished training sampled. `judge`: the version that must have
        judged."""
        yield from ()


def logprobs_of(inputs: Inputs) -> list[ResponseLogprobs]:
    """The log-probabilities among a phase's inputs."""
    return [ResponseLogprobs.model_validate(row) for row in inputs["logprobs"]]
