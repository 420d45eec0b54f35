"""The data part of an audit: is every prompt there once, of the right policy, and are the pairs its own?"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from itertools import permutations
from typing import Any

from orchestrator.audit.audit_violation import Violation
from orchestrator.audit.questions import check_questions
from orchestrator.audit.steps import check_steps
from selfreward.contracts.rollouts import PreferencePair, ResponseLogprobs, Rollout
from selfreward.loop import paths, plan
from selfreward.loop.constitution import Constitution
from selfreward.loop.methods import scir
from selfreward.loop.methods.constitutional import choices, offered, revised_rows
from selfreward.loop.methods.meta_rewarding import distinct, make_pair, preferences
from selfreward.loop.methods.registry import build_pairs
from selfreward.loop.methods.self_rewarding import positives
from selfreward.loop.tasks import meta_tasks
from selfreward.loop.train_jobs import replay
from selfreward.recipe.recipe import Recipe
from selfreward.store.artifacts import ArtifactStore


def check_round(store: ArtifactStore, run: str, recipe: Recipe, stage: str, version: str | None) -> Iterator[Violation]:
    """The rollouts and pairs of a DPO round: `version` is the policy that must have answered and judged."""
    asked = _ids(_rows(store, paths.data(run, f"prompts-{stage}")))
    name = f"runs/{run}/rollouts/{stage}.jsonl"
    rollouts = [Rollout.model_validate(row) for row in _rows(store, name)]
    failed = _ids(_rows(store, paths.failures(run, stage, "rollouts")))
    yield from _accounted(name, asked, [rollout.prompt_id for rollout in rollouts], failed)
    yield from _answered(name, rollouts, version, plan.answers(recipe, stage))
    if plan.judged(recipe):
        yield from _voted(name, rollouts, version, recipe.judging.votes, recipe.judging.annotator)
    if plan.compared(recipe):
        yield from _opposed(name, rollouts, version, recipe.scir.votes)
    if recipe.method == "process":
        yield from check_steps(name, rollouts, version, recipe)
    if recipe.method == "constitutional":
        yield from _compared(store, run, recipe, name, rollouts, version)
    if plan.meta_judged(recipe, stage):
        yield from _meta_judged(store, run, recipe, stage, version, rollouts)
    if recipe.method == "self_improving":
        yield from check_questions(store, run, recipe, stage, rollouts)
    else:
        yield from _paired(store, run, recipe, stage, rollouts)
    summary = store.read_json(f"runs/{run}/iterations/{stage}.json")
    ended = sum(summary[outcome] for outcome in ("kept", "ties", "unscored", "below_margin", "filtered", "failed"))
    if not summary["prompts"] == len(asked) == ended:
        yield Violation("accounting", f"iterations/{stage}.json", f"{ended} outcomes for {len(asked)} prompts")


def _paired(
    store: ArtifactStore, run: str, recipe: Recipe, stage: str, rollouts: Sequence[Rollout]
) -> Iterator[Violation]:
    stored = [PreferencePair.model_validate(row) for row in _rows(store, paths.pairs(run, stage))]
    rows = [ResponseLogprobs.model_validate(row) for row in _rows(store, paths.logprobs(run, stage))]
    if plan.scored(recipe):
        yield from _scored(paths.logprobs(run, stage), rollouts, rows, set(astuple(plan.scorers(run, stage))))
    present = plan.present(recipe, stage)
    if present is None:
        own, _ = build_pairs(recipe, rollouts, logprobs=rows)
    else:
        first = [Rollout.model_validate(row) for row in _rows(store, f"runs/{run}/rollouts/{present}.jsonl")]
        own, _ = build_pairs(recipe, first, foreseen=rollouts)
    actor = [pair for pair in stored if pair.kind == "actor"]
    if actor != own:
        odd = [pair.prompt_id for pair in actor if pair not in own] + [p.prompt_id for p in own if p not in actor]
        yield Violation("pairs", paths.pairs(run, stage), f"not those of the rollouts: {odd[:3] or 'another order'}")
    if recipe.loop.train_on == "positives" and _rows(store, paths.positives(run, stage)) != positives(actor):
        yield Violation("pairs", paths.positives(run, stage), "not the chosen answers of the pairs")
    if plan.replays(recipe, stage):
        again = [PreferencePair.model_validate(row) for row in _rows(store, paths.replay(run, stage))]
        earlier = {old: _rows(store, paths.pairs(run, old)) for old, _ in plan.replays(recipe, stage)}
        if again != replay(recipe, stage, earlier):
            yield Violation("pairs", paths.replay(run, stage), "not drawn of the earlier rounds' pairs")
    known = [PreferencePair.model_validate(row) for row in _rows(store, paths.data(run, "judge_pairs"))]
    others = [pair for pair in stored if pair.kind == "judge" and pair not in known]
    if plan.meta_judged(recipe, stage):
        judged = [Rollout.model_validate(row) for row in _rows(store, paths.meta(run, stage))]
        found, _ = preferences(judged, recipe.meta, len(actor), recipe.seed)
        # The judge's own prompt is known to the judge alone.
        if [_unprompted(pair) for pair in others] != [_unprompted(make_pair(p, [], "")) for p in found]:
            yield Violation("pairs", paths.pairs(run, stage), "judge pairs are not those of the meta-judge")
    elif others:
        strange = [pair.prompt_id for pair in others]
        yield Violation("pairs", paths.pairs(run, stage), f"judge pairs of nowhere: {strange[:3]}")


def _unprompted(pair: PreferencePair) -> PreferencePair:
    return pair.model_copy(update={"prompt": [], "rubric": ""})


def _meta_judged(
    store: ArtifactStore, run: str, recipe: Recipe, stage: str, version: str | None, rollouts: Sequence[Rollout]
) -> Iterator[Violation]:
    """The judgments that were compared are the round's own, each asked for once, by the model that wrote them."""
    asked = meta_tasks(run, recipe, stage, rollouts, version or "")
    name = paths.meta(run, stage)
    found = [Rollout.model_validate(row) for row in _rows(store, name)]
    failed = _ids(_rows(store, paths.failures(run, stage, "meta")))
    yield from _accounted(name, [task.prompt_id for task in asked], [rollout.prompt_id for rollout in found], failed)
    yield from _answered(name, found, version, 1)
    own = {task.prompt_id: (task.responses, task.judgments) for task in asked}
    strange = [row.prompt_id for row in found if own.get(row.prompt_id) != (row.responses, row.judgments)]
    if strange:
        yield Violation("accounting", name, f"not the round's own judgments: {strange[:3]}")
    orders = {row.prompt_id: Counter((match.first, match.second) for match in row.matches) for row in found}
    wanted = {row.prompt_id: Counter(permutations(distinct(row.judgments[0].votes), 2)) for row in found}
    short = [prompt for prompt, shown in orders.items() if shown != wanted[prompt]]
    if short:
        yield Violation("accounting", name, f"not every two judgments once in each order: {short[:3]}")


def _compared(
    store: ArtifactStore, run: str, recipe: Recipe, name: str, rollouts: Sequence[Rollout], version: str | None
) -> Iterator[Violation]:
    """Every two answers were compared in both orders, by the principles drawn for the prompt and no others."""
    wrong = sorted({str(rollout.judge_version) for rollout in rollouts} - {version})
    if wrong and recipe.judging.annotator == "policy":
        yield Violation("policy", name, f"compared by {wrong}, {version} was to compare")
    (kept,) = _rows(store, paths.data(run, "constitution"))
    principles, rules = Constitution.model_validate(kept).principles, recipe.constitution
    odd = []
    for rollout in rollouts:
        drawn = choices(principles, rules.principles, recipe.seed, rollout.prompt_id)
        orders = [order for a, b in offered(rollout.responses) for order in ((a, b), (b, a))]
        wanted = Counter((first, second, principle) for first, second in orders for principle in drawn)
        if wanted != Counter((match.first, match.second, match.principle) for match in rollout.matches):
            odd.append(rollout.prompt_id)
    if odd:
        yield Violation("accounting", name, f"not every two answers once in each order by its principles: {odd[:3]}")


def check_revised(
    store: ArtifactStore, run: str, recipe: Recipe, stage: str, version: str | None
) -> Iterator[Violation]:
    """The revised answers that train M1."""
    name = f"runs/{run}/rollouts/{stage}.jsonl"
    rollouts = [Rollout.model_validate(row) for row in _rows(store, name)]
    failed = _ids(_rows(store, paths.failures(run, stage, "rollouts")))
    asked = _ids(_rows(store, paths.data(run, f"prompts-{stage}")))
    yield from _accounted(name, asked, [rollout.prompt_id for rollout in rollouts], failed)
    yield from _answered(name, rollouts, version, 1 + 2 * recipe.constitution.revisions)
    if _rows(store, paths.revisions(run)) != revised_rows(rollouts)[0]:
        yield Violation("pairs", paths.revisions(run), "not the last revisions of the rollouts")


def check_ranked(
    store: ArtifactStore, run: str, recipe: Recipe, stage: str, version: str | None
) -> Iterator[Violation]:
    """The judgments of human-ranked answers that teach M1 to judge."""
    ranked = _rows(store, paths.data(run, "eft_ranked"))
    name = f"runs/{run}/rollouts/{stage}.jsonl"
    rollouts = [Rollout.model_validate(row) for row in _rows(store, name)]
    failed = _ids(_rows(store, paths.failures(run, stage, "rollouts")))
    yield from _accounted(name, _ids(ranked), [rollout.prompt_id for rollout in rollouts], failed)
    yield from _voted(name, rollouts, version, recipe.eft.judgments)


def check_evaluation(
    store: ArtifactStore, run: str, recipe: Recipe, stage: str, version: str | None
) -> Iterator[Violation]:
    """Sampled and greedy answers to held-out prompts, and judgments of the human-ranked ones, by one policy version."""
    plans = recipe.evaluation
    heldout = _ids(_rows(store, paths.data(run, "heldout")))[: plans.prompts]
    ranked = _ids(_rows(store, paths.data(run, "eft_eval")))
    failed = _rows(store, paths.failures(run, stage, "evaluate"))
    for part, asked, answers in (("samples", heldout, plans.samples), ("greedy", heldout, 1), ("eft_eval", ranked, 0)):
        name = f"runs/{run}/evaluation/{stage}/{part}.jsonl"
        rollouts = [Rollout.model_validate(row) for row in _rows(store, name)]
        given_up = [row["prompt_id"] for row in failed if row["part"] == part]
        yield from _accounted(name, asked, [rollout.prompt_id for rollout in rollouts], given_up)
        yield from _answered(name, rollouts, version, answers or None)
        judged = [rollout for rollout in rollouts if rollout.judgments]
        judging = recipe.evaluation_judging
        yield from _voted(name, judged, version, judging.votes, judging.annotator)


def _accounted(name: str, asked: Sequence[str], answered: Sequence[str], failed: Sequence[str]) -> Iterator[Violation]:
    """Each asked prompt once, as answered or as given up; nothing else."""
    found = Counter([*answered, *failed])
    twice = [prompt for prompt, count in found.items() if count > 1]
    lost = [prompt for prompt in asked if prompt not in found]
    unknown = sorted(set(found) - set(asked))
    for what, prompts in (("more than once", twice), ("missing", lost), ("never asked", unknown)):
        if prompts:
            yield Violation("accounting", name, f"{len(prompts)} prompts {what}: {prompts[:3]}")


def _answered(name: str, rollouts: Sequence[Rollout], version: str | None, answers: int | None) -> Iterator[Violation]:
    wrong = sorted({rollout.policy_version for rollout in rollouts} - {version})
    if wrong:
        yield Violation("policy", name, f"answered by {wrong}, {version} was to answer")
    short = [rollout.prompt_id for rollout in rollouts if answers is not None and len(rollout.responses) != answers]
    if short:
        yield Violation("accounting", name, f"not {answers} answers: {short[:3]}")


def _voted(
    name: str, rollouts: Sequence[Rollout], version: str | None, votes: int, annotator: str = "policy"
) -> Iterator[Violation]:
    wrong = sorted({str(rollout.judge_version) for rollout in rollouts} - {version})
    if wrong and annotator == "policy":
        yield Violation("policy", name, f"judged by {wrong}, {version} was to judge")
    short = [
        rollout.prompt_id
        for rollout in rollouts
        if len(rollout.judgments) != len(rollout.responses)
        or any(len(judgment.votes) != votes for judgment in rollout.judgments)
    ]
    if short:
        yield Violation("accounting", name, f"not {votes} votes on every answer: {short[:3]}")


def _opposed(name: str, rollouts: Sequence[Rollout], version: str | None, votes: int) -> Iterator[Violation]:
    """Every offered pair was compared in both orders, with as many votes in each, by the policy itself."""
    wrong = sorted({str(rollout.judge_version) for rollout in rollouts} - {version})
    if wrong:
        yield Violation("policy", name, f"compared by {wrong}, {version} was to compare")
    short = []
    for rollout in rollouts:
        asked = [order for a, b in scir.offered(rollout.responses) for order in ((a, b), (b, a))]
        if Counter((match.first, match.second) for match in rollout.matches) != dict.fromkeys(asked, votes):
            short.append(rollout.prompt_id)
    if short:
        yield Violation("accounting", name, f"not {votes} votes on every pair in each order: {short[:3]}")


def _scored(
    name: str, rollouts: Sequence[Rollout], rows: Sequence[ResponseLogprobs], models: set[str]
) -> Iterator[Violation]:
    """Each row is of an answer that is there, once, and under the models that the plan names."""
    known = {(rollout.prompt_id, index) for rollout in rollouts for index in range(len(rollout.responses))}
    found = Counter((row.prompt_id, row.index) for row in rows)
    odd = [place for place, count in found.items() if count > 1 or place not in known]
    if odd or not found:
        yield Violation("accounting", name, f"{len(found)} answers scored, not those of the rollouts: {odd[:3]}")
    if any(set(row.logprobs) != models for row in rows):
        yield Violation("policy", name, f"not scored by {sorted(models)}")


def _rows(store: ArtifactStore, name: str) -> list[dict[str, Any]]:
    return list(store.read_jsonl(name)) if store.exists(name) else []


def _ids(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [row["prompt_id"] for row in rows]
