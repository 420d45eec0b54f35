"""The phase `evaluate`: a model's answers and judgments for the report and the watchdogs. M0 answers only."""

from orchestrator.phases.ask_workers import model_of_stage, run_all
from orchestrator.phases.serving import serve
from orchestrator.runs.context import RunContext
from selfreward.loop import paths
from selfreward.loop.tasks import EVALUATION_SETS, items_of


async def evaluate(context: RunContext) -> None:
    """Sample the stage's model on held-out prompts, and let it judge the human-ranked answers (not M0)."""
    run, recipe, stage = context.run, context.recipe, context.state.stage
    model = model_of_stage(context, stage)
    await serve(context, model)
    heldout = items_of(await context.read_rows(paths.data(run, "heldout")))
    ranked = items_of(await context.read_rows(paths.data(run, "eft_eval")))
    tasks = context.method.evaluation_tasks(run, recipe, stage, heldout, ranked, model.policy_version)
    rollouts = await run_all(context, tasks)
    parts = {task.key: task.part for task in tasks}
    for part in EVALUATION_SETS:
        rows = [rollout.model_dump(mode="json") for rollout in rollouts if parts[rollout.key] == part]
        if rows:
            await context.write_rows(paths.evaluation(run, stage, part), rows)
