"""The phases of method `temporal` that only answer: by M1 for later rounds to reject, by the future model to choose."""

from typing import Any

from orchestrator.phases.ask_workers import items_of, present, run_all
from orchestrator.phases.serving import serve
from orchestrator.runs.context import RunContext
from selfreward.loop import paths, plan
from selfreward.loop.tasks import PromptItem, make_task, sampled


async def past(context: RunContext) -> None:
    """Answer all prompts of the run by M1, before it is replaced: later rounds reject its answers."""
    run, recipe = context.run, context.recipe
    asked = recipe.loop.iterations * recipe.prompts.per_iteration
    items = items_of((await context.read_rows(paths.data(run, "prompts")))[:asked])
    await context.write_rows(paths.data(run, "past"), await _answers(context, items))


async def foresee(context: RunContext) -> None:
    """Answer the round's prompts by the future model: its answers are what the round then judges."""
    run, stage = context.run, context.state.stage
    earlier = plan.present(context.recipe, stage)
    items = items_of(await context.read_rows(paths.data(run, f"prompts-{earlier}")))
    items = [item.model_copy(update={"responses": []}) for item in items]
    await context.write_rows(paths.data(run, f"prompts-{stage}"), await _answers(context, items))


async def _answers(context: RunContext, items: list[PromptItem]) -> list[dict[str, Any]]:
    """The prompts with answers to them by the newest model, not judged; without those that were given up."""
    run, recipe, stage, part = context.run, context.recipe, context.state.stage, context.state.phase
    model = present(context)
    await serve(context, model)
    generate = sampled(recipe.sampling, recipe.sampling.n)
    tasks = [make_task(run, recipe, stage, part, item, model.policy_version, generate) for item in items]
    return [
        rollout.model_dump(mode="json", include={"prompt_id": True, "prompt": True, "responses": {"__all__": {"text"}}})
        for rollout in await run_all(context, tasks)
    ]
