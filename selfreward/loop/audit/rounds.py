"""The data part of an audit: every prompt once, by the right policy, and training data that the rollouts give."""

from collections.abc import Iterator, Sequence
from typing import Any

from selfreward.contracts.rollouts import PreferencePair, Rollout
from selfreward.loop import paths
from selfreward.loop.methods import method_of
from selfreward.loop.methods.base import Inputs
from selfreward.loop.methods.checks import Violation, check_accounting, check_answers, check_votes
from selfreward.loop.pairing import judge_pair
from selfreward.loop.stages import replays
from selfreward.loop.tasks import EVALUATION_SETS
from selfreward.loop.train_jobs import replay
from selfreward.recipe.recipe import Recipe
from selfreward.store.artifacts import ArtifactStore

_OUTCOMES = ("kept", "ties", "unscored", "below_margin", "filtered", "truncated", "failed")


def check_stage(store: ArtifactStore, run: str, recipe: Recipe, stage: str, version: str | None) -> Iterator[Violation]:
    """Check a stage's rollouts and its training data. `version` is the policy that must have answered and judged."""
    method = method_of(recipe)
    if method.kind(recipe, stage) == "eft":
        yield from _check_ranked(store, run, recipe, stage, version)
        return
    name = paths.rollouts(run, stage)
    rollouts = _rollouts(store, name)
    prompts = _ids(_rows(store, paths.prompts(run, stage)))
    yield from _check_accounting(store, run, stage, prompts, rollouts)
    yield from check_answers(name, rollouts, version, method.answers(recipe, stage))
    inputs = _inputs(store, run, recipe, stage)
    yield from method.violations(run, recipe, stage, rollouts, version, inputs)
    training = method.training_rows(run, recipe, stage, rollouts, inputs)
    if training is None:
        yield from _check_pairs(store, run, recipe, stage, rollouts, inputs)
    elif _rows(store, training.artifact) != training.rows:
        yield Violation(training.what, training.artifact, "not those that the rollouts give")
    if training is not None and training.record_artifact != paths.iteration(run, stage):
        return
    summary = store.read_json(paths.iteration(run, stage))
    ended = sum(summary[outcome] for outcome in _OUTCOMES)
    if not summary["prompts"] == len(prompts) == ended:
        yield Violation("accounting", f"iterations/{stage}.json", f"{ended} outcomes for {len(prompts)} prompts")


def check_training(
    store: ArtifactStore, run: str, recipe: Recipe, stage: str, judge: str | None
) -> Iterator[Violation]:
    """Check the answers that a stage's training sampled, if any. `judge` is the policy that must have judged them."""
    inputs = _inputs(store, run, recipe, stage)
    yield from method_of(recipe).training_violations(run, recipe, stage, judge, inputs)


def check_evaluation(
    store: ArtifactStore, run: str, recipe: Recipe, stage: str, version: str | None
) -> Iterator[Violation]:
    """Check sampled and greedy answers to held-out prompts and judgments of human-ranked answers, by one version.

    The base model must have judged nothing.
    """
    plans, judging = recipe.evaluation, recipe.evaluation_judging
    heldout = _ids(_rows(store, paths.data(run, "heldout")))[: plans.prompts]
    base = method_of(recipe).kind(recipe, stage) == "base"
    ranked = [] if base else _ids(_rows(store, paths.data(run, "eft_eval")))
    failed = _rows(store, paths.failures(run, stage, "evaluate"))
    expected = {"samples": (heldout, plans.samples), "greedy": (heldout, 1), "eft_eval": (ranked, None)}
    for part in EVALUATION_SETS:
        name = paths.evaluation(run, stage, part)
        rollouts = _rollouts(store, name)
        prompts, answers = expected[part]
        given_up = [row["prompt_id"] for row in failed if row["part"] == part]
        yield from check_accounting(name, prompts, [rollout.prompt_id for rollout in rollouts], given_up)
        yield from check_answers(name, rollouts, version, answers)
        judged = [rollout for rollout in rollouts if rollout.judgments]
        if base and judged:
            yield Violation("policy", name, "the base model, which has not learned to judge, has judged")
        else:
            yield from check_votes(name, judged, version, judging.votes, judging.annotator)


def _check_ranked(
    store: ArtifactStore, run: str, recipe: Recipe, stage: str, version: str | None
) -> Iterator[Violation]:
    """Check the judgments of human-ranked answers that train M1 to judge."""
    name = paths.rollouts(run, stage)
    rollouts = _rollouts(store, name)
    yield from _check_accounting(store, run, stage, _ids(_rows(store, paths.data(run, "eft_ranked"))), rollouts)
    yield from check_votes(name, rollouts, version, recipe.eft.judgments)


def _check_pairs(
    store: ArtifactStore, run: str, recipe: Recipe, stage: str, rollouts: Sequence[Rollout], inputs: Inputs
) -> Iterator[Violation]:
    """Check the pairs that trained a stage, of answers and of judgments, and the rows derived from them."""
    method, name = method_of(recipe), paths.pairs(run, stage)
    # Pairs of answers.
    stored = [PreferencePair.model_validate(row) for row in _rows(store, name)]
    expected, _ = method.pairs(recipe, rollouts, inputs)
    actor = [pair for pair in stored if pair.kind == "actor"]
    if actor != expected:
        wrong = [pair.prompt_id for pair in actor if pair not in expected]
        wrong += [pair.prompt_id for pair in expected if pair not in actor]
        yield Violation("pairs", name, f"not those of the rollouts: {wrong[:3] or 'another order'}")
    # Rows derived from them: chosen answers, and replayed pairs of earlier rounds.
    positives = method.positives(run, recipe, stage, actor)
    if positives is not None and _rows(store, positives[0]) != positives[1]:
        yield Violation("pairs", positives[0], "not the chosen answers of the pairs")
    if replays(recipe, stage):
        replayed = [PreferencePair.model_validate(row) for row in _rows(store, paths.replay(run, stage))]
        earlier = {old: _rows(store, paths.pairs(run, old)) for old, _ in replays(recipe, stage)}
        if replayed != replay(recipe, stage, earlier):
            yield Violation("pairs", paths.replay(run, stage), "not drawn of the earlier rounds' pairs")
    # Pairs of judgments: of EFT building, or of the method's own judge.
    by_ranks = [PreferencePair.model_validate(row) for row in _rows(store, paths.data(run, "judge_pairs"))]
    others = [pair for pair in stored if pair.kind == "judge" and pair not in by_ranks]
    preferred, record = method.judge_preferences(recipe, stage, len(actor), inputs)
    if record is None and others:
        yield Violation("pairs", name, f"judge pairs of nowhere: {[pair.prompt_id for pair in others][:3]}")
    # Only the judge service knows the judge's prompt.
    elif [_unprompted(pair) for pair in others] != [judge_pair(preference, [], "") for preference in preferred]:
        yield Violation("pairs", name, "judge pairs are not those of the meta-judge")


def _unprompted(pair: PreferencePair) -> PreferencePair:
    return pair.model_copy(update={"prompt": [], "rubric": ""})


def _check_accounting(
    store: ArtifactStore, run: str, stage: str, prompts: Sequence[str], rollouts: Sequence[Rollout]
) -> Iterator[Violation]:
    failed = _ids(_rows(store, paths.failures(run, stage, "rollouts")))
    answered = [rollout.prompt_id for rollout in rollouts]
    yield from check_accounting(paths.rollouts(run, stage), prompts, answered, failed)


def _inputs(store: ArtifactStore, run: str, recipe: Recipe, stage: str) -> Inputs:
    artifacts = method_of(recipe).inputs(run, recipe, stage, "audit")
    return {name: _rows(store, artifact) for name, artifact in artifacts.items()}


def _rollouts(store: ArtifactStore, name: str) -> list[Rollout]:
    return [Rollout.model_validate(row) for row in _rows(store, name)]


def _rows(store: ArtifactStore, name: str) -> list[dict[str, Any]]:
    return list(store.read_jsonl(name)) if store.exists(name) else []


def _ids(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [row["prompt_id"] for row in rows]
