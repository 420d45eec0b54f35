"""The phases of a stage. Each is idempotent: done again after a crash, it ends with the same artifacts."""

import random
from typing import Any

from orchestrator import metrics
from orchestrator.phases.ask_workers import items_of, made, present, run_all
from orchestrator.phases.constitution import by_constitution, keep_revisions
from orchestrator.phases.judge_data import filled_prompts, judge_pairs, sft_rows
from orchestrator.phases.meta import meta_pairs
from orchestrator.phases.prompts import write_prompts
from orchestrator.phases.questions import choose, propose
from orchestrator.phases.serving import announce_model, serve
from orchestrator.phases.training import follow
from orchestrator.phases.training import train as follow_training
from orchestrator.runs.context import RunContext
from orchestrator.runs.errors import RunFailed
from orchestrator.runs.results import Results
from orchestrator.worker.search import search_tasks
from selfreward.contracts.base import Message, content_key
from selfreward.contracts.rollouts import PreferencePair, ResponseLogprobs, Rollout
from selfreward.loop import paths, plan, train_jobs
from selfreward.loop.eft import select
from selfreward.loop.methods.dno import taught_prompts
from selfreward.loop.methods.registry import build_pairs, monitors
from selfreward.loop.methods.self_rewarding import positives
from selfreward.loop.methods.spin import demonstrated_prompts
from selfreward.loop.methods.temporal import anchored_prompts
from selfreward.loop.record import ModelRecord
from selfreward.loop.summary import summarise
from selfreward.loop.tasks import eft_tasks, evaluation_tasks, rollout_tasks
from selfreward.loop.train_jobs import replay

EVALUATION_SETS = ("samples", "greedy", "eft_eval")


async def prompts(context: RunContext) -> None:
    """M0: write all prompts of the run by Self-Instruct. A round: take its slice of the prompts."""
    run, recipe, stage = context.run, context.recipe, context.state.stage
    size = recipe.prompts.per_iteration
    if plan.kind(recipe, stage) == "base":
        model = present(context)
        await serve(context, model)
        human = [row["prompt"][-1]["content"] for row in await context.read_rows(paths.data(run, "ift"))]
        written = await write_prompts(context, model, human, size * plan.slices(recipe))
        rows = [
            {"prompt_id": f"prompts-{number:05d}", "prompt": [{"role": "user", "content": text}]}
            for number, text in enumerate(written)
        ]
        await context.write_rows(paths.data(run, "prompts"), rows)
        return
    if recipe.method == "self_improving" and recipe.prompts.source == "self_instruct":
        rows = await propose(context, present(context))
    elif recipe.method == "spin":
        rows = demonstrated_prompts(await context.read_rows(paths.data(run, "ift")), size, recipe.seed)
    else:
        start = plan.slice_index(recipe, stage) * size
        rows = (await context.read_rows(paths.data(run, "prompts")))[start : start + size]
        if recipe.method == "dno":
            rows = taught_prompts(rows)
        elif recipe.method == "temporal":
            rows = anchored_prompts(rows, await context.read_rows(paths.data(run, "past")))
    await context.write_rows(paths.data(run, f"prompts-{stage}"), rows)
    await context.progress(len(rows), len(rows))


async def rollouts(context: RunContext) -> None:
    """Answer and judge the stage's prompts, or judge the human-ranked answers, by the model before this stage.

    With method `constitutional` answers are revised for M1, and compared in the rounds; with `process` they are found
    step by step.
    """
    run, recipe, stage = context.run, context.recipe, context.state.stage
    model = made(context, plan.actor(recipe, stage))
    await serve(context, model)
    if plan.kind(recipe, stage) == "eft":
        ranked = items_of(await context.read_rows(paths.data(run, "eft_ranked")))
        tasks = eft_tasks(run, recipe, stage, ranked, model.policy_version)
    else:
        items = items_of(await context.read_rows(paths.data(run, f"prompts-{stage}")))
        if recipe.method == "constitutional":
            tasks = await by_constitution(context, items, model.policy_version)
        elif recipe.method == "process":
            tasks = search_tasks(run, recipe, stage, items, model.policy_version)
        else:
            tasks = rollout_tasks(run, recipe, stage, items, model.policy_version)
    done = await run_all(context, tasks)
    await context.write_rows(
        f"runs/{run}/rollouts/{stage}.jsonl", (rollout.model_dump(mode="json") for rollout in done)
    )


async def score(context: RunContext) -> None:
    """Have the trainer score the round's answers by the probabilities that its models give them."""
    await follow(
        context, train_jobs.score_job(context.run, context.recipe, context.state.stage, await _canary(context))
    )


async def pairs(context: RunContext) -> None:
    """Build the stage's training data from its rollouts."""
    run, recipe, stage = context.run, context.recipe, context.state.stage
    done = [Rollout.model_validate(row) for row in await context.read_rows(f"runs/{run}/rollouts/{stage}.jsonl")]
    if plan.kind(recipe, stage) == "eft":
        await _eft(context, done)
        return
    if plan.kind(recipe, stage) == "revised":
        await keep_revisions(context, done)
        return
    if recipe.method == "self_improving":
        await choose(context, done)
        return
    rows = [ResponseLogprobs.model_validate(row) for row in await context.read_rows(paths.logprobs(run, stage))]
    first_answered = plan.present(recipe, stage)
    if first_answered is None:
        actor, counts = build_pairs(recipe, done, logprobs=rows)
    else:
        first = await context.read_rows(f"runs/{run}/rollouts/{first_answered}.jsonl")
        actor, counts = build_pairs(recipe, [Rollout.model_validate(row) for row in first], foreseen=done)
    if not actor:
        raise RunFailed(f"no preference pairs came of {len(done)} prompts: {counts}; see the score histogram")
    judged = await _judge_pairs(context, round(recipe.pairs.judge_pairs * len(actor)))
    judged_again, meta_monitors = await meta_pairs(context, len(actor))
    trained = [*actor, *judged, *judged_again]
    await context.write_rows(paths.pairs(run, stage), (pair.model_dump(mode="json") for pair in trained))
    if plan.replays(recipe, stage):
        earlier = {old: await context.read_rows(paths.pairs(run, old)) for old, _ in plan.replays(recipe, stage)}
        again = replay(recipe, stage, earlier)
        await context.write_rows(paths.replay(run, stage), (pair.model_dump(mode="json") for pair in again))
    if recipe.loop.train_on == "positives":
        await context.write_rows(paths.positives(run, stage), positives(actor))
    asked = len(await context.read_rows(paths.data(run, f"prompts-{stage}")))
    summary = summarise(stage, done, trained, counts, failed=asked - len(done), sampled=recipe.sampling.n)
    summary |= monitors(recipe, done, rows)
    if meta_monitors is not None:
        summary["meta"] = meta_monitors
    await context.write_json(f"runs/{run}/iterations/{stage}.json", summary)
    for outcome, count in counts.items():
        metrics.PAIRS.labels(outcome).inc(count)
    for pair in actor:
        metrics.LENGTH.labels("chosen").observe(len(pair.chosen[-1].content))
        metrics.LENGTH.labels("rejected").observe(len(pair.rejected[-1].content))
    shown = {name: summary[name] for name in ("pairs", "ties", "unscored", "chosen_rejected_gap", "judge_pairs")}
    measured = {name.removeprefix("chosen_rejected_"): value for name, value in shown.items() if value is not None}
    await context.progress(len(done), len(done), metrics=measured)


async def train(context: RunContext) -> None:
    """Train the stage and remember its checkpoint."""
    status = await follow_training(context, await _canary(context))
    if status.digest is None:
        raise RunFailed(f"training {status.id} is done but reports no digest: look at the trainer's log")
    artifact = paths.weights(context.run, context.state.stage)
    trained = ModelRecord(name=context.state.stage, policy_version="", artifact=artifact, digest=status.digest)
    await context.update(models=[*_others(context), trained])


async def publish(context: RunContext) -> None:
    """Announce the stage's checkpoint."""
    model = present(context)
    announced = await announce_model(context, model.name, model.artifact, model.digest)
    await context.update(models=[*_others(context), announced])
    metrics.ITERATION.set(len(context.state.models))
    await context.progress(1, 1, announced.policy_version)


async def reload(context: RunContext) -> None:
    """Wait until every generator replica serves the stage's model."""
    model = present(context)
    await context.progress(0, 1, model.policy_version)
    await serve(context, model)
    await context.progress(1, 1, model.policy_version)


async def evaluate(context: RunContext) -> None:
    """Sample the stage's model on held-out prompts and have it judge the human-ranked answers."""
    run, stage = context.run, context.state.stage
    model = present(context)
    await serve(context, model)
    heldout = items_of(await context.read_rows(paths.data(run, "heldout")))
    ranked = items_of(await context.read_rows(paths.data(run, "eft_eval")))
    tasks = evaluation_tasks(run, context.recipe, stage, heldout, ranked, model.policy_version)
    done = await run_all(context, tasks)
    parts = {task.key: task.part for task in tasks}
    for name in EVALUATION_SETS:
        rows = [rollout.model_dump(mode="json") for rollout in done if parts[rollout.key] == name]
        if rows:
            await context.write_rows(f"runs/{run}/evaluation/{stage}/{name}.jsonl", rows)


async def forget_results(context: RunContext, stage: str, phase: str) -> None:
    """Drop results that are now in the artifact store and in the journal."""
    await Results(context.services.redis, context.run, stage, phase).clear()


async def _eft(context: RunContext, done: list[Rollout]) -> None:
    run, recipe = context.run, context.recipe
    rows = await context.read_rows(paths.data(run, "eft_ranked"))
    ranks = {row["prompt_id"]: [response["rank"] for response in row["responses"]] for row in rows}
    eft = recipe.eft
    selection = select(done, ranks, cap_ratio=eft.cap_ratio, max_rows=eft.max_rows, seed=recipe.seed)
    if not selection.accepted:
        raise RunFailed(
            f"no judgment of the SFT baseline agrees with the human ranking: {selection.counts}; if most are unparsed, "
            "raise judging.max_tokens or use a base model that can follow the rubric; else give more EFT rows or raise "
            "eft.judgments"
        )
    places = sorted({(v.prompt_id, v.index) for v in selection.accepted} | {_place(c) for c in selection.contrasts})
    filled, rubric = await filled_prompts(context.services.judge, recipe.judging.rubric, done, places)
    await context.write_rows(paths.data(run, "eft"), sft_rows(selection.accepted, filled))
    made = judge_pairs(selection.contrasts, filled, done[0].policy_version, rubric)
    await context.write_rows(paths.data(run, "judge_pairs"), (pair.model_dump(mode="json") for pair in made))
    counts = {**selection.counts, "judge_pairs": len(made)}
    await context.write_json(f"runs/{run}/eft.json", counts)
    shown = {name: float(counts[name]) for name in ("agreeing", "accepted", "kept", "judge_pairs")}
    await context.progress(counts["prompts"], counts["prompts"], metrics=shown)


def _place(contrast: Any) -> tuple[str, int]:
    return contrast.chosen.prompt_id, contrast.chosen.index


async def _judge_pairs(context: RunContext, wanted: int) -> list[PreferencePair]:
    """Up to `wanted` judge pairs, another draw in every stage."""
    if not wanted:
        return []
    rows = await context.read_rows(paths.data(context.run, "judge_pairs"))
    rng = random.Random(content_key(context.recipe.seed, context.state.stage, "judge pairs"))  # noqa: S311 - guards no secret
    return [PreferencePair.model_validate(row) for row in rng.sample(rows, min(wanted, len(rows)))]


async def _canary(context: RunContext) -> list[Message]:
    heldout = await context.read_rows(paths.data(context.run, "heldout"))
    return [Message.model_validate(message) for message in heldout[0]["prompt"]]


def _others(context: RunContext) -> list[ModelRecord]:
    return [model for model in context.state.models if model.name != context.state.stage]
