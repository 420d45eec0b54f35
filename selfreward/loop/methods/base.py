"""What a method is: one class that says how a round's training data is made. Its defaults are those of self-rewarding.

A method is pure: it reads no file and asks no service. Each hook gets what it needs as `inputs`, the rows of the
artifacts that `Method.inputs` names, so that the phases of a run and the auditor call the same functions.
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
from selfreward.loop.cost import Work, total
from selfreward.loop.methods import implicit
from selfreward.loop.methods.checks import Violation, check_scored, check_votes
from selfreward.loop.methods.plan import Plan
from selfreward.loop.pairing import JudgePreference, best_over_worst
from selfreward.loop.stages import replays, scorers
from selfreward.loop.tasks import PromptItem, Task, eft_tasks, evaluation_tasks, items_of, make_task, sampled
from selfreward.loop.train_jobs import logprobs_job, make_job, publish_job
from selfreward.recipe.recipe import Recipe

Inputs = Mapping[str, Sequence[dict[str, Any]]]
"""Rows of artifacts, by the names that `Method.inputs` gives them. An artifact that does not exist has no rows."""


@dataclass(frozen=True)
class TrainingRows:
    """What a stage trains on where that is not preference pairs.

    `what` is its name in an audit. `artifact` holds `rows`, `record_artifact` holds `record`. `problem` says why
    nothing can be trained on the rows, with the remedy; empty where something can. `figures` are for people.
    """

    what: str
    artifact: str
    rows: list[dict[str, Any]]
    record_artifact: str
    record: dict[str, Any]
    problem: str = ""
    figures: dict[str, float] = field(default_factory=dict)


class Method(Plan):
    """How a round's training data is made, and what else of a run follows from that."""

    # ---- the data of a stage

    def prompts(self, recipe: Recipe, stage: str, inputs: Inputs) -> list[dict[str, Any]]:
        """The prompts that a stage answers: its slice of the run's."""
        start = self.slice_index(recipe, stage) * recipe.prompts.per_iteration
        return list(inputs["prompts"][start : start + recipe.prompts.per_iteration])

    def tasks(self, run: str, recipe: Recipe, stage: str, phase: str, policy: str, inputs: Inputs) -> list[Task]:
        """What the workers are asked in a phase. By default n answers to each prompt, each judged with k votes.

        `policy` is the public version of the model that answers and judges.
        """
        items = items_of(inputs["items"])
        if self.kind(recipe, stage) == "eft":
            return eft_tasks(run, recipe, stage, items, policy)
        return [self.rollout_task(run, recipe, stage, item, policy) for item in items]

    def rollout_task(self, run: str, recipe: Recipe, stage: str, item: PromptItem, policy: str) -> Task:
        """N answers to a prompt, judged as the recipe says if the method judges at all."""
        generate = sampled(recipe.sampling, recipe.sampling.n)
        judge = recipe.judging if self.judged(recipe) else None
        return make_task(run, recipe, stage, "rollouts", item, policy, generate, judge, self.answer_format(recipe))

    def results(self, run: str, stage: str, phase: str, done: Sequence[Rollout]) -> tuple[str, list[dict[str, Any]]]:
        """The artifact that keeps what the workers gave in a phase, and its rows."""
        return paths.rollouts(run, stage), [rollout.model_dump(mode="json") for rollout in done]

    def figures(self, phase: str, done: Sequence[Rollout]) -> dict[str, float]:
        """Figures of a phase that asked the workers, for people who follow the run."""
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
        """What a model is asked for the report."""
        return evaluation_tasks(run, recipe, stage, heldout, ranked, policy, self.answer_format(recipe))

    # ---- what trains a stage

    def pairs(
        self, recipe: Recipe, rollouts: Sequence[Rollout], inputs: Inputs
    ) -> tuple[list[PreferencePair], dict[str, int]]:
        """The actor pairs of a round, and how many rollouts ended in which of `selfreward.loop.pairing.OUTCOMES`.

        By default the best-scored answer of a prompt over the worst (Yuan et al. 2024, 2.2). Outcomes that are left out
        are 0.
        """
        return best_over_worst(rollouts, recipe.pairs, recipe.seed)

    def positives(
        self, run: str, recipe: Recipe, stage: str, actor: list[PreferencePair]
    ) -> tuple[str, list[dict[str, Any]]] | None:
        """SFT rows that stand in for the pairs in training, and their artifact; None where the pairs train."""
        return None

    def training_rows(
        self, run: str, recipe: Recipe, stage: str, rollouts: Sequence[Rollout], inputs: Inputs
    ) -> TrainingRows | None:
        """What a stage trains on where that is not preference pairs; None where it is."""
        return None

    def judge_preferences(
        self, recipe: Recipe, stage: str, actor_pairs: int, inputs: Inputs
    ) -> tuple[list[JudgePreference], dict[str, Any] | None]:
        """Preferences between judgments that train the judge beside `actor_pairs` pairs of answers, and what the
        round's record says of them; None where the stage has none."""
        return [], None

    def monitors(self, recipe: Recipe, rollouts: Sequence[Rollout], inputs: Inputs) -> dict[str, float | None]:
        """Figures of a round for its record: with log-probabilities, how far two models and the judge agree."""
        if not rollouts or not self.scored(recipe):
            return {}
        by = scorers(rollouts[0].run, rollouts[0].stage)
        rows = implicit.by_place(logprobs_of(inputs))
        figures = implicit.monitors(rollouts, rows, by)
        return figures | (implicit.judge_agreement(rollouts, rows, by) if self.judged(recipe) else {})

    def comparisons(self, run: str, recipe: Recipe, stage: str) -> str:
        """The artifact whose rollouts hold the comparisons that the watchdogs of a round look at."""
        return paths.rollouts(run, stage)

    def hyperparameters(self, recipe: Recipe, stage: str) -> Optimisation:
        """How a stage is trained. LookupError for M0, which is not."""
        kind = self.kind(recipe, stage)
        if kind == "base":
            raise LookupError("M0 is published as it is, not trained")
        if kind == "sft":
            return recipe.baseline_sft
        return recipe.sft if kind in ("eft", "revised") else recipe.dpo

    def train_job(self, run: str, recipe: Recipe, stage: str, canary: list[Message], judge: str = "") -> TrainJob:
        """The training job of a stage. `judge`: the policy version whose verdicts are the rewards, if there are any."""
        kind = self.kind(recipe, stage)
        if kind == "base":
            return publish_job(run, recipe, stage, canary)
        start = {"init_from": paths.weights(run, self.parent(recipe, stage))}
        if kind in ("sft", "eft", "revised"):
            taught = {"sft": [], "eft": [paths.data(run, "eft")], "revised": [paths.revisions(run)]}[kind]
            how = {"method": "sft", "sft": self.hyperparameters(recipe, stage)}
            return make_job(run, recipe, stage, canary, **start, **how, datasets=[paths.data(run, "ift"), *taught])
        return make_job(run, recipe, stage, canary, **start, **self.round_training(run, recipe, stage, judge))

    def round_training(self, run: str, recipe: Recipe, stage: str, judge: str) -> dict[str, Any]:
        """How a round trains, as fields of its training job: by DPO on its pairs and those of earlier rounds."""
        again = [paths.replay(run, stage)] if replays(recipe, stage) else []
        return {"method": "dpo", "dpo": recipe.dpo, "datasets": [paths.pairs(run, stage), *again]}

    def training_judge(self, recipe: Recipe, stage: str) -> str | None:
        """The stage whose model is served while a stage trains, because its verdicts are the reward; or None."""
        return None

    def score_job(self, run: str, recipe: Recipe, stage: str, canary: list[Message]) -> TrainJob:
        """The job that scores a round's answers by the probabilities that models give them."""
        return logprobs_job(run, recipe, stage, canary, astuple(scorers(run, stage)), [paths.rollouts(run, stage)])

    # ---- tokens

    def cost(self, recipe: Recipe, stage: str) -> Work:
        """What a round asks of the engine at most. Other stages ask nothing that their recipe alone tells."""
        if self.kind(recipe, stage) not in ("round", "future"):
            return Work()
        prompts = recipe.prompts.per_iteration
        texts, judged = self.judged_of_a_prompt(recipe, stage)
        answered = self.sampled_of_a_prompt(recipe, stage) * recipe.sampling.max_tokens
        return Work(prompts, prompts * answered, prompts * texts, prompts * judged)

    def sampled_of_a_prompt(self, recipe: Recipe, stage: str) -> int:
        """Answers of full length that a stage samples to a prompt."""
        return recipe.sampling.n

    def judged_of_a_prompt(self, recipe: Recipe, stage: str) -> tuple[int, int]:
        """How many texts the judge reads about a prompt's answers, and how many tokens it writes about them at most."""
        if not self.judged(recipe):
            return 0, 0
        answers = self.answers(recipe, stage)
        return answers, answers * recipe.judging.votes * recipe.judging.max_tokens

    def rows_of_a_prompt(self, recipe: Recipe, stage: str) -> float:
        """Rows that a prompt can give a round to train on, judge pairs included."""
        return self.pairs_of_a_prompt(recipe) * (1 + recipe.pairs.judge_pairs)

    def pairs_of_a_prompt(self, recipe: Recipe) -> float:
        """Actor pairs that a prompt can give."""
        return 1

    def tokens(self, recipe: Recipe, eft_answers: int, eval_answers: int) -> int:
        """Upper bound of the tokens that a run generates, its judgments included; repeats after failures are not.

        `eft_answers` and `eval_answers` are how many human-ranked answers `data.eft` and `data.eft_eval` hold.
        """
        stages = self.stages(recipe)
        work = total(self.cost(recipe, stage) for stage in stages)
        tokens = work.answered + work.judged
        # Sampled answers and a greedy one to each prompt, and judgments of some of them and of the ranked answers.
        evaluation, judging = recipe.evaluation, recipe.evaluation_judging
        answers = evaluation.prompts * (evaluation.samples + 1) * recipe.sampling.max_tokens
        judgments = min(evaluation.judged_prompts, evaluation.prompts) * evaluation.samples + eval_answers
        evaluated = sum("evaluate" in self.phases(recipe, stage) for stage in stages)
        tokens += evaluated * (answers + judgments * judging.votes * judging.max_tokens)
        if recipe.loop.use_eft:
            tokens += eft_answers * recipe.eft.judgments * judging.max_tokens
        writing = recipe.prompts.self_instruct
        times = sum(self.writes_prompts(recipe, stage) for stage in stages)
        return tokens + times * writing.max_requests * writing.max_tokens

    # ---- the audit

    def violations(
        self, run: str, recipe: Recipe, stage: str, rollouts: Sequence[Rollout], version: str | None, inputs: Inputs
    ) -> Iterator[Violation]:
        """What is wrong with a stage's rollouts, beside what every method's are held to.

        `version` is the policy that must have answered and judged.
        """
        name = paths.rollouts(run, stage)
        if self.judged(recipe):
            yield from check_votes(name, rollouts, version, recipe.judging.votes, recipe.judging.annotator)
        if self.scored(recipe):
            models = set(astuple(scorers(run, stage)))
            yield from check_scored(paths.logprobs(run, stage), rollouts, logprobs_of(inputs), models)

    def training_violations(
        self, run: str, recipe: Recipe, stage: str, judge: str | None, inputs: Inputs
    ) -> Iterator[Violation]:
        """What is wrong with the answers that a finished training sampled itself. `judge`: who must have judged."""
        yield from ()


def logprobs_of(inputs: Inputs) -> list[ResponseLogprobs]:
    """The log-probabilities among a phase's inputs."""
    return [ResponseLogprobs.model_validate(row) for row in inputs["logprobs"]]
