"""The data part of an audit: is every prompt there once, of the right policy, and do the rollouts give the data?"""

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

_OUTCOMES = ("kept", "ties", "unscored", "below_margin", "filtered", "failed")


def check_stage(store: ArtifactStore, run: str, recipe: Recipe, stage: str, version: str | None) -> Iterator[Violation]:
    """A stage's rollouts, and the data made of them: `version` is the policy that must have answered and judged."""
    method = method_of(recipe)
    if method.kind(recipe, stage) == "eft":
        yield from _check_ranked(store, run, recipe, stage, version)
        return
    name = paths.rollouts(run, stage)
    rollouts = _rollouts(store, name)
    asked = _ids(_rows(store, paths.prompts(run, stage)))
    yield from _accounted(store, run, stage, asked, rollouts)
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
    if not summary["prompts"] == len(asked) == ended:
        yield Violation("accounting", f"iterations/{stage}.json", f"{ended} outcomes for {len(asked)} prompts")


def check_training(
    store: ArtifactStore, run: str, recipe: Recipe, stage: str, judge: str | None
) -> Iterator[Violation]:
    """The answers that a stage's training sampled itself, if any: `judge` is the policy that must have judged them."""
    inputs = _inputs(store, run, recipe, stage)
    yield from method_of(recipe).training_violations(run, recipe, stage, judge, inputs)


def check_evaluation(
    store: ArtifactStore, run: str, recipe: Recipe, stage: str, version: str | None
) -> Iterator[Violation]:
    """Sampled and greedy answers to held-out prompts, and judgments of the human-ranked ones, by one policy version."""
    plans, judging = recipe.evaluation, recipe.evaluation_judging
    heldout = _ids(_rows(store, paths.data(run, "heldout")))[: plans.prompts]
    ranked = _ids(_rows(store, paths.data(run, "eft_eval")))
    failed = _rows(store, paths.failures(run, stage, "evaluate"))
    asked = {"samples": (heldout, plans.samples), "greedy": (heldout, 1), "eft_eval": (ranked, None)}
    for part in EVALUATION_SETS:
        name = paths.evaluation(run, stage, part)
        rollouts = _rollouts(store, name)
        prompts, answers = asked[part]
        given_up = [row["prompt_id"] for row in failed if row["part"] == part]
        yield from check_accounting(name, prompts, [rollout.prompt_id for rollout in rollouts], given_up)
        yield from check_answers(name, rollouts, version, answers)
        judged = [rollout for rollout in rollouts if rollout.judgments]
        yield from check_votes(name, judged, version, judging.votes, judging.annotator)


def _check_ranked(
    store: ArtifactStore, run: str, recipe: Recipe, stage: str, version: str | None
) -> Iterator[Violation]:
    """The judgments of human-ranked answers that teach M1 to judge."""
    name = paths.rollouts(run, stage)
    rollouts = _rollouts(store, name)
    yield from _accounted(store, run, stage, _ids(_rows(store, paths.data(run, "eft_ranked"))), rollouts)
    yield from check_votes(name, rollouts, version, recipe.eft.judgments)


def _check_pairs(
    store: ArtifactStore, run: str, recipe: Recipe, stage: str, rollouts: Sequence[Rollout], inputs: Inputs
) -> Iterator[Violation]:
    """The pairs that trained a stage, answers and judgments, and the rows drawn or made from them."""
    method, name = method_of(recipe), paths.pairs(run, stage)
    stored = [PreferencePair.model_validate(row) for row in _rows(store, name)]
    own, _ = method.pairs(recipe, rollouts, inputs)
    actor = [pair for pair in stored if pair.kind == "actor"]
    if actor != own:
        odd = [pair.prompt_id for pair in actor if pair not in own] + [p.prompt_id for p in own if p not in actor]
        yield Violation("pairs", name, f"not those of the rollouts: {odd[:3] or 'another order'}")
    positives = method.positives(run, recipe, stage, actor)
    if positives is not None and _rows(store, positives[0]) != positives[1]:
        yield Violation("pairs", positives[0], "not the chosen answers of the pairs")
    if replays(recipe, stage):
        again = [PreferencePair.model_validate(row) for row in _rows(store, paths.replay(run, stage))]
        earlier = {old: _rows(store, paths.pairs(run, old)) for old, _ in replays(recipe, stage)}
        if again != replay(recipe, stage, earlier):
            yield Violation("pairs", paths.replay(run, stage), "not drawn of the earlier rounds' pairs")
    known = [PreferencePair.model_validate(row) for row in _rows(store, paths.data(run, "judge_pairs"))]
    others = [pair for pair in stored if pair.kind == "judge" and pair not in known]
    preferred, record = method.judge_preferences(recipe, stage, len(actor), inputs)
    if record is None and others:
        yield Violation("pairs", name, f"judge pairs of nowhere: {[pair.prompt_id for pair in others][:3]}")
    # The judge's own prompt is known to the judge alone.
    elif [_unprompted(pair) for pair in others] != [judge_pair(preference, [], "") for preference in preferred]:
        yield Violation("pairs", name, "judge pairs are not those of the meta-judge")


def _unprompted(pair: PreferencePair) -> PreferencePair:
    return pair.model_copy(update={"prompt": [], "rubric": ""})


def _accounted(
    store: ArtifactStore, run: str, stage: str, asked: Sequence[str], rollouts: Sequence[Rollout]
) -> Iterator[Violation]:
    failed = _ids(_rows(store, paths.failures(run, stage, "rollouts")))
    answered = [rollout.prompt_id for rollout in rollouts]
    yield from check_accounting(paths.rollouts(run, stage), asked, answered, failed)


def _inputs(store: ArtifactStore, run: str, recipe: Recipe, stage: str) -> Inputs:
    artifacts = method_of(recipe).inputs(run, recipe, stage, "audit")
    return {name: _rows(store, artifact) for name, artifact in artifacts.items()}


def _rollouts(store: ArtifactStore, name: str) -> list[Rollout]:
    return [Rollout.model_validate(row) for row in _rows(store, name)]


def _rows(store: ArtifactStore, name: str) -> list[dict[str, Any]]:
    return list(store.read_jsonl(name)) if store.exists(name) else []


def _ids(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [row["prompt_id"] for row in rows]
