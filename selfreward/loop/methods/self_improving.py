"""Self Rewarding Self Improving (2505.08827): reinforcement learning on the model's own verdicts.

The policy trains on questions to which some of its answers are right and some are wrong, by its own verdict. Where all
answers get the same reward there is no advantage to learn from.

A rollout is a probe: a group of answers to one question, each with the policy's verdict.
"""

from collections.abc import Iterable, Iterator, Sequence
from math import ceil
from statistics import fmean
from typing import Any

from selfreward.contracts.base import Message
from selfreward.contracts.optimisation import Optimisation
from selfreward.contracts.reinforcement import JobVerdicts, OwnVerdicts, Question, RlHyper, Sample
from selfreward.contracts.rollouts import Rollout
from selfreward.contracts.training import DpoHyper
from selfreward.loop import paths
from selfreward.loop.cost import Cost
from selfreward.loop.methods.base import Inputs, Method, TrainingRows
from selfreward.loop.methods.checks import Violation
from selfreward.loop.methods.plan import check_no_pair_rules, table
from selfreward.loop.own_verdicts import final_answer, reward
from selfreward.loop.pairing import OUTCOMES
from selfreward.loop.summary import summarise
from selfreward.recipe.recipe import Recipe

Identity = tuple[str, ...]


class SelfImproving(Method):
    """Policy gradient on questions that the policy sometimes answers correctly, rewarded by its own verdicts."""

    name = "self_improving"
    tables = {"rl": RlHyper, "verdicts": OwnVerdicts}

    def check_pairs(self, recipe: Recipe) -> None:
        """No pairs are trained on."""
        message = "method='self_improving' trains on no pairs: leave out `pairs`, `dpo` and loop.replay"
        check_no_pair_rules(recipe, message)
        if recipe.dpo != DpoHyper() or recipe.loop.replay:
            raise ValueError(message)
        if recipe.loop.measure_consistency:
            raise ValueError("loop.measure_consistency is for methods that train on pairs: leave it out")

    def check_training(self, recipe: Recipe) -> None:
        """The reward is the policy's own verdict, on answers that are sampled during training."""
        super().check_training(recipe)
        if recipe.judging.annotator != "policy":
            raise ValueError(
                f"judging.annotator={recipe.judging.annotator!r}: method='self_improving' is rewarded by its own "
                "verdicts; leave it out"
            )
        if recipe.trainer.sharding != "none":
            raise ValueError(
                f"trainer.sharding={recipe.trainer.sharding!r} is for SFT and DPO: method='self_improving' answers "
                "while it trains; leave it out"
            )

    def answer_format(self, recipe: Recipe) -> str | None:
        """`answer_format` of `[verdicts]`."""
        return table(recipe, OwnVerdicts).answer_format

    def needs_m1(self, recipe: Recipe) -> bool:
        """M1 may be the judge of every round."""
        return super().needs_m1(recipe) or table(recipe, OwnVerdicts).judge == "anchor"

    def writes_prompts(self, recipe: Recipe, stage: str) -> bool:
        """The policy that the round trains writes the round's questions."""
        return self.kind(recipe, stage) == "round" and recipe.prompts.source == "self_instruct"

    def inputs(self, run: str, recipe: Recipe, stage: str, phase: str) -> dict[str, str]:
        """Pairs need the held-out prompts, to exclude them, and the round's prompts; the audit also what was trained
        on."""
        more = {}
        if phase in ("pairs", "audit") and self.kind(recipe, stage) == "round":
            more = {"heldout": paths.data(run, "heldout"), "asked": paths.prompts(run, stage)}
        if phase == "audit":
            more |= {"questions": paths.questions(run, stage), "samples": paths.samples(run, stage)}
        return super().inputs(run, recipe, stage, phase) | more

    def training_rows(
        self, run: str, recipe: Recipe, stage: str, rollouts: Sequence[Rollout], inputs: Inputs
    ) -> TrainingRows | None:
        """The questions that are neither too easy nor too hard for the policy."""
        if self.kind(recipe, stage) != "round":
            return None
        # The questions with mixed verdicts.
        heldout = [[Message.model_validate(message) for message in row["prompt"]] for row in inputs["heldout"]]
        questions, counts = select_questions(rollouts, table(recipe, OwnVerdicts), heldout)
        rl = table(recipe, RlHyper)
        # The round's record; a round without a full batch fails.
        needed, failed = rl.batch_size // rl.group, len(inputs["asked"]) - len(rollouts)
        record = summarise(stage, rollouts, [], counts, failed=failed, sampled=recipe.sampling.n)
        return TrainingRows(
            what="questions",
            artifact=paths.questions(run, stage),
            rows=[question.model_dump(mode="json") for question in questions],
            record_artifact=paths.iteration(run, stage),
            record={**record, "questions": len(questions)},
            problem=""
            if len(questions) >= needed
            else f"{len(questions)} of {len(rollouts)} questions can train, and one batch takes {needed}: {counts}; "
            "raise prompts.per_iteration or sampling.temperature, lower rl.batch_size, or look at the vote histogram",
            figures={
                "questions": float(len(questions)),
                "ties": float(counts["tie"]),
                "unscored": float(counts["unscored"]),
            },
        )

    def hyperparameters(self, recipe: Recipe, stage: str) -> Optimisation:
        """Those of `[rl]` in rounds."""
        round_ = self.kind(recipe, stage) == "round"
        return table(recipe, RlHyper) if round_ else super().hyperparameters(recipe, stage)

    def round_training(self, run: str, recipe: Recipe, stage: str, judge: str) -> dict[str, Any]:
        """Reinforcement learning on the questions."""
        verdicts = JobVerdicts.model_validate(
            {
                **recipe.judging.model_dump(exclude={"annotator"}),
                **table(recipe, OwnVerdicts).model_dump(include={"answer_format", "correct_from"}),
                "policy": judge,
                "samples": paths.samples(run, stage),
            }
        )
        datasets = [paths.questions(run, stage)]
        return {"method": "rl", "rl": table(recipe, RlHyper), "datasets": datasets, "verdicts": verdicts}

    def training_judge(self, recipe: Recipe, stage: str) -> str | None:
        """M1, or the model that the stage is trained from, as `verdicts.judge` says."""
        if self.kind(recipe, stage) != "round":
            return None
        return "M1" if table(recipe, OwnVerdicts).judge == "anchor" else self.parent(recipe, stage)

    def cost(self, recipe: Recipe, stage: str) -> Cost:
        """The probe, and the answers that the trainer samples, judged like the probe's. All questions count as kept."""
        cost = super().cost(recipe, stage)
        if self.kind(recipe, stage) != "round":
            return cost
        rl = table(recipe, RlHyper)
        sampled = ceil(recipe.prompts.per_iteration * rl.epochs) * rl.group
        judged = cost.judged + sampled * recipe.judging.votes * recipe.judging.max_tokens
        return cost._replace(texts=cost.texts + sampled, judged=judged, sampled=sampled)

    def rows_per_prompt(self, recipe: Recipe, stage: str) -> float:
        """One group of answers."""
        return table(recipe, RlHyper).group

    def tokens(self, recipe: Recipe, eft_answers: int, eval_answers: int) -> int:
        """Also the answers that the trainer samples."""
        sampled = sum(self.cost(recipe, stage).sampled for stage in self.stages(recipe))
        return super().tokens(recipe, eft_answers, eval_answers) + sampled * table(recipe, RlHyper).max_tokens

    def training_violations(
        self, run: str, recipe: Recipe, stage: str, judge: str | None, inputs: Inputs
    ) -> Iterator[Violation]:
        """Checks that the training's answers are to the stage's questions and that `judge` alone rewarded them."""
        name, rules = paths.samples(run, stage), table(recipe, OwnVerdicts)
        samples = [Sample.model_validate(row) for row in inputs["samples"]]
        questions = {Question.model_validate(row).prompt_id for row in inputs["questions"]}
        unknown = {sample.prompt_id for sample in samples} - questions
        if unknown or not samples:
            yield Violation("samples", name, f"{len(samples)} answers, to questions of nowhere: {sorted(unknown)[:3]}")
        versions = {sample.judge_version for sample in samples if sample.judge_version is not None} - {judge}
        if versions:
            yield Violation("policy", name, f"rewarded by {sorted(map(str, versions))}, {judge} was to judge")
        for number, sample in enumerate(samples, start=1):
            answer = final_answer(sample.text, rules.answer_format)
            if sample.answer != answer or sample.reward != reward(sample.score, rules.correct_from):
                yield Violation("samples", name, f"row {number}: reward {sample.reward} is not what its verdict says")
                return


def identity(prompt: Sequence[Message]) -> Identity:
    """The sorted words of a question, so that two questions with the same words in another order count as one."""
    return tuple(sorted(word for message in prompt for word in message.content.lower().split()))


def pass_rate(rollout: Rollout, rules: OwnVerdicts) -> float | None:
    """Share of the answers that count as correct, 0 to 1; None where no answer has a verdict.

    An answer that does not have the format, or whose verdict cannot be read, is wrong. An answer that the engine failed
    to judge does not count.
    """
    rewards = []
    for response, judgment in zip(rollout.responses, rollout.judgments, strict=True):
        if final_answer(response.text, rules.answer_format) is None:
            rewards.append(0)
        elif judgment.score is not None or not any(vote.status == "error" for vote in judgment.votes):
            rewards.append(reward(judgment.score, rules.correct_from))
    return fmean(rewards) if rewards else None


def select_questions(
    rollouts: Iterable[Rollout], rules: OwnVerdicts, heldout: Iterable[Sequence[Message]]
) -> tuple[list[Question], dict[str, int]]:
    """The questions to train on, in the order of the rollouts, and how many rollouts ended in which way.

    `tie`: all answers are right or all are wrong. `filtered`: the pass rate is out of the recipe's bounds, or the
    question is a `heldout` prompt or an earlier question. `unscored`: no verdict.
    """
    excluded = {identity(prompt) for prompt in heldout}
    questions: list[Question] = []
    counts = dict.fromkeys(OUTCOMES, 0)
    for rollout in rollouts:
        rate, question = pass_rate(rollout, rules), identity(rollout.prompt)
        if rate is None:
            counts["unscored"] += 1
        elif rate in (0.0, 1.0):
            counts["tie"] += 1
        elif question in excluded or not rules.min_pass_rate < rate < rules.max_pass_rate:
            counts["filtered"] += 1
        else:
            counts["kept"] += 1
            excluded.add(question)
            questions.append(Question(prompt_id=rollout.prompt_id, prompt=rollout.prompt, pass_rate=rate))
    return questions, counts
