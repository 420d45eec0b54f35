"""The audit of a round of reinforcement learning: are the questions its own, and the rewards those of its judge?"""

from collections.abc import Iterator, Sequence

from orchestrator.audit.audit_violation import Violation
from orchestrator.phases.questions import prompt_of
from selfreward.contracts.reinforcement import Question, Sample
from selfreward.contracts.rollouts import Rollout
from selfreward.loop import paths
from selfreward.loop.methods.self_improving import select_questions
from selfreward.loop.own_verdicts import final_answer, reward
from selfreward.recipe.recipe import Recipe
from selfreward.store.artifacts import ArtifactStore


def check_questions(
    store: ArtifactStore, run: str, recipe: Recipe, stage: str, rollouts: Sequence[Rollout]
) -> Iterator[Violation]:
    """The questions that train a stage are those that its probes give."""
    heldout = [prompt_of(row) for row in store.read_jsonl(paths.data(run, "heldout"))]
    wanted, _ = select_questions(rollouts, recipe.verdicts, heldout)
    if _questions(store, run, stage) != wanted:
        yield Violation("questions", paths.questions(run, stage), "not those that the rollouts give")


def check_samples(store: ArtifactStore, run: str, recipe: Recipe, stage: str, judge: str | None) -> Iterator[Violation]:
    """The answers that trained a stage answer its questions, and `judge` alone rewarded them."""
    name, rules = paths.samples(run, stage), recipe.verdicts
    samples = [Sample.model_validate(row) for row in store.read_jsonl(name)]
    strange = {sample.prompt_id for sample in samples} - {q.prompt_id for q in _questions(store, run, stage)}
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


def _questions(store: ArtifactStore, run: str, stage: str) -> list[Question]:
    return [Question.model_validate(row) for row in store.read_jsonl(paths.questions(run, stage))]
