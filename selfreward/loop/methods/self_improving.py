"""Self Rewarding Self Improving (2505.08827): reinforcement learning on the model's own verdicts.

It trains on questions of which the policy has some
answers right and some wrong, by its own verdict. Where all answers get one reward there is no advantage to learn from.

A rollout is a probe: a group of answers to one question, each with the policy's verdict on it.
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
from selfreward.loop.cost import Work
from selfreward.loop.methods.base import Inputs, Method, TrainingRows
from selfreward.loop.methods.checks import Violation
from selfreward.loop.methods.plan import check_no_pair_rules, table
from selfreward.loop.own_verdicts import final_answer, reward
from selfreward.loop.pairing import OUTCOMES
from selfreward.loop.summary import summarise
from selfreward.recipe.recipe import Recipe

Identity = tuple[str, ...]


class SelfImproving(Method):
    """Policy gradient on questions that the policy answers rightly at times, rewarded by its own verdicts."""

    name = "self_improving"
    tables = {"rl": RlHyper, "verdicts": OwnVerdicts}

    def check_pairs(self, recipe: Recipe) -> None:
        """There are no pairs."""
        message = "method='self_improving' trains on no pairs: leave out `pairs`, `dpo` and loop.replay"
        check_no_pair_rules(recipe, message)
        if recipe.dpo != DpoHyper() or recipe.loop.replay:
            raise ValueError(message)
        if recipe.loop.measure_consistency:
            raise ValueError("loop.measure_consistency is for methods that train on pairs: leave it out")

    def check_training(self, recipe: Recipe) -> None:
        """The policy's own verdicts are the reward, on answers that it samples while it trains."""
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
        """Of `[verdicts]`."""
        return table(recipe, OwnVerdicts).answer_format

    def anchored(self, recipe: Recipe) -> bool:
        """M1 may be the judge of every round."""
        return super().anchored(recipe) or table(recipe, OwnVerdicts).judge == "anchor"

    def writes_prompts(self, recipe: Recipe, stage: str) -> bool:
        """The policy that is about to be trained writes each round's questions."""
        return self.kind(recipe, stage) == "round" and recipe.prompts.source == "self_instruct"

    def inputs(self, run: str, recipe: Recipe, stage: str, phase: str) -> dict[str, str]:
        """Held-out prompts, which are no questions; what was asked; in an audit what was trained on."""
        more = {}
        if phase in ("pairs", "audit") and self.kind(recipe, stage) == "round":
            more = {"heldout": paths.data(run, "heldout"), "asked": paths.prompts(run, stage)}
        if phase == "audit":
            more |= {"questions": paths.questions(run, stage), "samples": paths.samples(run, stage)}
        return super().inputs(run, recipe, stage, phase) | more

    def training_rows(
        self, run: str, recipe: Recipe, stage: str, rollouts: Sequence[Rollout], inputs: Inputs
    ) -> TrainingRows | None:
        """The questions that the policy finds neither too easy nor too hard."""
        if self.kind(recipe, stage) != "round":
            return None
        heldout = [[Message.model_validate(message) for message in row["prompt"]] for row in inputs["heldout"]]
        kept, counts = select_questions(rollouts, table(recipe, OwnVerdicts), heldout)
        rl = table(recipe, RlHyper)
        needed, failed = rl.batch_size // rl.group, len(inputs["asked"]) - len(rollouts)
        record = summarise(stage, rollouts, [], counts, failed=failed, sampled=recipe.sampling.n)
        return TrainingRows(
            what="questions",
            artifact=paths.questions(run, stage),
            rows=[question.model_dump(mode="json") for question in kept],
            record_artifact=paths.iteration(run, stage),
            record={**record, "questions": len(kept)},
            problem=""
            if len(kept) >= needed
            else f"{len(kept)} of {len(rollouts)} questions can train, and one batch takes {needed}: {counts}; raise "
            "prompts.per_iteration or sampling.temperature, lower rl.batch_size, or look at the verdicts' histogram",
            figures={
                "questions": float(len(kept)),
                "ties": float(counts["tie"]),
                "unscored": float(counts["unscored"]),
            },
        )

    def hyperparameters(self, recipe: Recipe, stage: str) -> Optimisation:
        """Of `[rl]` in rounds."""
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

    def cost(self, recipe: Recipe, stage: str) -> Work:
        """Every question may be kept, and each answer that trains is judged as the probe's are."""
        work = super().cost(recipe, stage)
        if self.kind(recipe, stage) != "round":
            return work
        rl = table(recipe, RlHyper)
        sampled = ceil(recipe.prompts.per_iteration * rl.epochs) * rl.group
        judged = work.judged + sampled * recipe.judging.votes * recipe.judging.max_tokens
        return work._replace(texts=work.texts + sampled, judged=judged, sampled=sampled)

    def rows_of_a_prompt(self, recipe: Recipe, stage: str) -> float:
        """The answers of a group."""
        return table(recipe, RlHyper).group

    def tokens(self, recipe: Recipe, eft_answers: int, eval_answers: int) -> int:
        """The trainer samples answers itself."""
        sampled = sum(self.cost(recipe, stage).sampled for stage in self.stages(recipe))
        return super().tokens(recipe, eft_answers, eval_answers) + sampled * table(recipe, RlHyper).max_tokens

    def training_violations(
        self, run: str, recipe: Recipe, stage: str, judge: str | None, inputs: Inputs
    ) -> Iterator[Violation]:
        """The answers that trained a stage answer its questions, and `judge` alone rewarded them."""
        name, rules = paths.samples(run, stage), table(recipe, OwnVerdicts)
        samples = [Sample.model_validate(row) for row in inputs["samples"]]
        questions = {Question.model_validate(row).prompt_id for row in inputs["questions"]}
        strange = {sample.prompt_id for sample in samples} - questions
        if strange or not samples:
            yield Violation("samples", name, f"{len(samples)} answers, to questions of nowhere: {sorted(strange)[:3]}")
        versions = {sample.judge_version for sample in samples if sample.judge_version is not None} - {judge}
        if versions:
            yield Violation("policy", name, f"rewarded by {sorted(map(str, versions))}, {judge} was to judge")
        for number, sample in enumerate(samples, start=1):
            seen = final_answer(sample.text, rules.answer_format)
            if sample.answer != seen or sample.reward != reward(sample.score, rules.correct_from):
                yield Violation("samples", name, f"row {number}: reward {sample.reward} is not what its verdict says")
                return


def identity(prompt: Sequence[Message]) -> Identity:
    """The words of a question in alphabetical order: two that say the same in another order are one question."""
    return tuple(sorted(word for message in prompt for word in message.content.lower().split()))


def pass_rate(rollout: Rollout, rules: OwnVerdicts) -> float | None:
    """Share of the answers that count as correct, 0 to 1; None where no answer has got a verdict.

    An answer that fails the format gate, and one whose verdict cannot be read, is wrong; one that the engine failed to
    judge says nothing and is left out.
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
    """The questions to train on in the order of the rollouts, and how many rollouts ended in which way.

    `tie`: all answers are right or all are wrong; `filtered`: the pass rate is out of the recipe's bounds, or the
    question is one of the `heldout` prompts or an earlier one; `unscored`: no verdict.
    """
    seen = {identity(prompt) for prompt in heldout}
    kept: list[Question] = []
    counts = dict.fromkeys(OUTCOMES, 0)
    for rollout in rollouts:
        rate, known = pass_rate(rollout, rules), identity(rollout.prompt)
        if rate is None:
            counts["unscored"] += 1
        elif rate in (0.0, 1.0):
            counts["tie"] += 1
        elif known in seen or not rules.min_pass_rate < rate < rules.max_pass_rate:
            counts["filtered"] += 1
        else:
            counts["kept"] += 1
            seen.add(known)
            kept.append(Question(prompt_id=rollout.prompt_id, prompt=rollout.prompt, pass_rate=rate))
    return kept, counts
