"""The rounds of Self Rewarding Self Improving: questions written, probed and chosen, and the judge of the training."""

from collections.abc import Sequence
from typing import Any

from orchestrator.phases.prompts import write_prompts
from orchestrator.phases.serving import serve
from orchestrator.runs.context import RunContext
from orchestrator.runs.errors import RunFailed
from selfreward.contracts.base import Message
from selfreward.contracts.rollouts import Rollout
from selfreward.loop import paths, plan
from selfreward.loop.methods.self_improving import new_questions, select_questions
from selfreward.loop.record import ModelRecord
from selfreward.loop.summary import summarise


async def propose(context: RunContext, model: ModelRecord) -> list[dict[str, Any]]:
    """The round's questions, variants of the seed problems, written by the policy that is about to be trained."""
    await serve(context, model)
    seeds = [row["prompt"][-1]["content"] for row in await context.read_rows(paths.data(context.run, "ift"))]
    size = context.recipe.prompts.per_iteration
    stage = context.state.stage
    return new_questions(await write_prompts(context, model, seeds, size, f"self-instruct-{stage}"), stage)


async def choose(context: RunContext, done: Sequence[Rollout]) -> None:
    """Keep the questions that the policy finds neither too easy nor too hard, and the round's record."""
    run, recipe, stage = context.run, context.recipe, context.state.stage
    heldout = [prompt_of(row) for row in await context.read_rows(paths.data(run, "heldout"))]
    kept, counts = select_questions(done, recipe.verdicts, heldout)
    needed = recipe.rl.batch_size // recipe.rl.group
    if len(kept) < needed:
        raise RunFailed(
            f"{len(kept)} of {len(done)} questions can train, and one batch takes {needed}: {counts}; raise "
            "prompts.per_iteration or sampling.temperature, lower rl.batch_size, or look at the verdicts' histogram"
        )
    await context.write_rows(paths.questions(run, stage), (question.model_dump(mode="json") for question in kept))
    asked = len(await context.read_rows(paths.data(run, f"prompts-{stage}")))
    summary = summarise(stage, done, [], counts, failed=asked - len(done), sampled=recipe.sampling.n)
    await context.write_json(f"runs/{run}/iterations/{stage}.json", {**summary, "questions": len(kept)})
    shown = {"questions": float(len(kept)), "ties": float(counts["tie"]), "unscored": float(counts["unscored"])}
    await context.progress(len(done), len(done), metrics=shown)


async def verdict_judge(context: RunContext) -> str:
    """The policy version that judges while the present stage trains; it is served when this returns."""
    judge = judging_model(context)
    await serve(context, judge)
    return judge.policy_version


def judging_model(context: RunContext) -> ModelRecord:
    """M1, or the model that the stage is trained from, as the recipe's `verdicts.judge` says."""
    name = plan.judge_of(context.recipe, context.state.stage)
    found = [model for model in context.state.models if model.name == name]
    if not found:
        raise RunFailed(f"run {context.run} has no model {name} to judge {context.state.stage}: its record is damaged")
    return found[0]


def prompt_of(row: dict[str, Any]) -> list[Message]:
    """The prompt of a row of the run's data."""
    return [Message.model_validate(message) for message in row["prompt"]]
