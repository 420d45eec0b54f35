"""The phase `pairs`: a stage's training data, from its rollouts."""

import random
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from orchestrator import metrics
from orchestrator.runs.context import RunContext
from orchestrator.runs.errors import RunFailed
from selfreward.client.http import ServiceClient
from selfreward.contracts.base import Message, content_key
from selfreward.contracts.judging import JudgePrompts
from selfreward.contracts.rollouts import PreferencePair, Rollout
from selfreward.loop import paths
from selfreward.loop.eft import Place, judge_pairs, place_of, select, sft_rows
from selfreward.loop.methods.base import Inputs, TrainingRows
from selfreward.loop.pairing import OUTCOMES, judge_pair
from selfreward.loop.stages import replays
from selfreward.loop.summary import summarise
from selfreward.loop.train_jobs import replay

_CHUNK = 128
"""Prompts of one request to the judge."""


async def pairs(context: RunContext) -> None:
    """Build the stage's training data. RunFailed if it cannot be trained on."""
    run, recipe, stage, method = context.run, context.recipe, context.state.stage, context.method
    rows = await context.read_rows(paths.rollouts(run, stage))
    rollouts = [Rollout.model_validate(row) for row in rows]
    if method.kind(recipe, stage) == "eft":
        await _write_eft(context, rollouts)
        return
    inputs = await context.inputs("pairs")
    training = method.training_rows(run, recipe, stage, rollouts, inputs)
    if training is not None:
        await _write_rows(context, training, len(rollouts))
    else:
        await _write_pairs(context, rollouts, inputs)


async def _write_rows(context: RunContext, training: TrainingRows, rollouts: int) -> None:
    if training.problem:
        raise RunFailed(training.problem)
    await context.write_rows(training.artifact, training.rows)
    await context.write_json(training.record_artifact, training.record)
    await context.progress(rollouts, rollouts, metrics=training.figures)


async def _write_pairs(context: RunContext, rollouts: list[Rollout], inputs: Inputs) -> None:
    run, recipe, stage, method = context.run, context.recipe, context.state.stage, context.method
    # Pairs of answers.
    actor, outcomes = method.pairs(recipe, rollouts, inputs)
    counts = dict.fromkeys(OUTCOMES, 0) | outcomes
    if not actor:
        raise RunFailed(f"no preference pairs came of {len(rollouts)} prompts: {counts}; see the score histogram")
    # Pairs of judgments train beside pairs of answers. They come from EFT building, or from the method's own judge.
    by_ranks = await _drawn_judge_pairs(context, round(recipe.pairs.judge_pairs * len(actor)))
    by_judge, judge_record = await _own_judge_pairs(context, len(actor), inputs)
    trained = [*actor, *by_ranks, *by_judge]
    await context.write_rows(paths.pairs(run, stage), (pair.model_dump(mode="json") for pair in trained))
    # Replayed pairs, and rows that replace the pairs.
    if replays(recipe, stage):
        earlier = {old: await context.read_rows(paths.pairs(run, old)) for old, _ in replays(recipe, stage)}
        replayed = replay(recipe, stage, earlier)
        await context.write_rows(paths.replay(run, stage), (pair.model_dump(mode="json") for pair in replayed))
    positives = method.positives(run, recipe, stage, actor)
    if positives is not None:
        await context.write_rows(*positives)
    # The round's record: its prompts by outcome, and its monitors.
    failed = len(await context.read_rows(paths.prompts(run, stage))) - len(rollouts)
    summary = summarise(stage, rollouts, trained, counts, failed=failed, sampled=recipe.sampling.n)
    summary |= method.monitors(recipe, rollouts, inputs)
    if judge_record is not None:
        summary["meta"] = judge_record
    await context.write_json(paths.iteration(run, stage), summary)
    # Metrics and progress.
    for outcome, count in counts.items():
        metrics.PAIRS.labels(outcome).inc(count)
    for pair in actor:
        metrics.LENGTH.labels("chosen").observe(len(pair.chosen[-1].content))
        metrics.LENGTH.labels("rejected").observe(len(pair.rejected[-1].content))
    figures = {name: summary[name] for name in ("pairs", "ties", "unscored", "chosen_rejected_gap", "judge_pairs")}
    measured = {name.removeprefix("chosen_rejected_"): value for name, value in figures.items() if value is not None}
    await context.progress(len(rollouts), len(rollouts), metrics=measured)


async def _write_eft(context: RunContext, rollouts: list[Rollout]) -> None:
    """Write EFT rows and judge pairs for M1, from judgments of human-ranked answers."""
    run, recipe = context.run, context.recipe
    rows = await context.read_rows(paths.data(run, "eft_ranked"))
    ranks = {row["prompt_id"]: [response["rank"] for response in row["responses"]] for row in rows}
    eft = recipe.eft
    selection = select(rollouts, ranks, cap_ratio=eft.cap_ratio, max_rows=eft.max_rows, seed=recipe.seed)
    if not selection.accepted:
        raise RunFailed(
            f"no judgment of the SFT baseline agrees with the human ranking: {selection.counts}; if most are unparsed, "
            "raise judging.max_tokens or use a base model that can follow the rubric; else give more EFT rows or raise "
            "eft.judgments"
        )
    places = sorted({place_of(verdict) for verdict in [*selection.accepted, *(c.chosen for c in selection.contrasts)]})
    filled, rubric = await _filled_prompts(context.services.judge, recipe.judging.rubric, rollouts, places)
    await context.write_rows(paths.data(run, "eft"), sft_rows(selection.accepted, filled))
    contrasts = judge_pairs(selection.contrasts, filled, rollouts[0].policy_version, rubric)
    await context.write_rows(paths.data(run, "judge_pairs"), (pair.model_dump(mode="json") for pair in contrasts))
    counts = {**selection.counts, "judge_pairs": len(contrasts)}
    await context.write_json(paths.eft_record(run), counts)
    figures = {name: float(counts[name]) for name in ("agreeing", "accepted", "kept", "judge_pairs")}
    await context.progress(counts["prompts"], counts["prompts"], metrics=figures)


async def _drawn_judge_pairs(context: RunContext, wanted: int) -> list[PreferencePair]:
    """Up to `wanted` judge pairs of EFT building. Each stage makes a different draw."""
    if not wanted:
        return []
    rows = await context.read_rows(paths.data(context.run, "judge_pairs"))
    rng = random.Random(content_key(context.recipe.seed, context.state.stage, "judge pairs"))  # noqa: S311 - guards no secret
    return [PreferencePair.model_validate(row) for row in rng.sample(rows, min(wanted, len(rows)))]


async def _own_judge_pairs(
    context: RunContext, actor_pairs: int, inputs: Inputs
) -> tuple[list[PreferencePair], dict[str, Any] | None]:
    """The judge pairs of the method's own judge, and their entry in the round's record; None if it has none."""
    recipe = context.recipe
    preferred, record = context.method.judge_preferences(recipe, context.state.stage, actor_pairs, inputs)
    if not preferred:
        return [], record
    rollouts = [preference.rollout for preference in preferred]
    places = [(rollout.prompt_id, 0) for rollout in rollouts]
    filled, rubric = await _filled_prompts(context.services.judge, recipe.judging.rubric, rollouts, places)
    by_place = zip(preferred, places, strict=True)
    return [judge_pair(preference, filled[place], rubric) for preference, place in by_place], record


async def _filled_prompts(
    judge: ServiceClient, rubric: str, rollouts: Sequence[Rollout], places: Sequence[Place]
) -> tuple[dict[Place, list[Message]], str]:
    """The judge's prompt about each of the answers at `places`, and the rubric's identity (`name@sha256:...`)."""
    by_prompt = {rollout.prompt_id: rollout for rollout in rollouts}
    prompts: dict[Place, list[Message]] = {}
    identity = rubric
    for start in range(0, len(places), _CHUNK):
        chunk = places[start : start + _CHUNK]
        items = [
            {
                "prompt": [message.model_dump() for message in by_prompt[prompt_id].prompt],
                "response": by_prompt[prompt_id].responses[index].text,
            }
            for prompt_id, index in chunk
        ]
        reply = await judge.request("POST", f"/v1/rubrics/{quote(rubric, safe='@:')}/prompt", json={"items": items})
        filled = JudgePrompts.model_validate_json(reply.content)
        identity = filled.rubric
        prompts |= dict(zip(chunk, filled.messages, strict=True))
    return prompts, identity
