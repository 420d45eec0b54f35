"""The meta-judged part of a Meta-Rewarding round: have judgments compared, and make judge pairs of what comes out."""

from typing import Any

from orchestrator.phases.ask_workers import present, run_all
from orchestrator.phases.judge_data import filled_prompts
from orchestrator.phases.serving import serve
from orchestrator.runs.context import RunContext
from selfreward.contracts.rollouts import PreferencePair, Rollout
from selfreward.loop import paths, plan
from selfreward.loop.methods.meta_rewarding import figures, make_pair, preferences
from selfreward.loop.tasks import meta_tasks


async def meta(context: RunContext) -> None:
    """Compare the judgments of one answer to each of the round's prompts, by the model that wrote them."""
    run, stage = context.run, context.state.stage
    model = present(context)
    await serve(context, model)
    rows = await context.read_rows(f"runs/{run}/rollouts/{stage}.jsonl")
    judged = [Rollout.model_validate(row) for row in rows]
    done = await run_all(context, meta_tasks(run, context.recipe, stage, judged, model.policy_version))
    await context.write_rows(paths.meta(run, stage), (rollout.model_dump(mode="json") for rollout in done))
    measured = {name: value for name, value in figures(done).items() if value is not None}
    await context.progress(len(done), len(done), metrics=measured)


async def meta_pairs(context: RunContext, actor_pairs: int) -> tuple[list[PreferencePair], dict[str, Any] | None]:
    """The round's judge pairs by its meta-judge, and what the round's record says of them; None where it has none."""
    run, recipe, stage = context.run, context.recipe, context.state.stage
    if not plan.meta_judged(recipe, stage):
        return [], None
    rollouts = [Rollout.model_validate(row) for row in await context.read_rows(paths.meta(run, stage))]
    found, counts = preferences(rollouts, recipe.meta, actor_pairs, recipe.seed)
    answered = [preference.rollout for preference in found]
    places = [(rollout.prompt_id, 0) for rollout in answered]
    filled, rubric = await filled_prompts(context.services.judge, recipe.judging.rubric, answered, places)
    made = [make_pair(p, filled[place], rubric) for p, place in zip(found, places, strict=True)]
    return made, {"prompts": len(rollouts), **counts, **figures(rollouts)}
