"""What the phases that ask the workers have in common: who serves, and what became of every task."""

from orchestrator import plan
from orchestrator.barrier import run_tasks
from orchestrator.context import RunContext, RunFailed
from orchestrator.state import ModelRecord
from orchestrator.tasks import Task
from selfreward.contracts import Rollout


def present(context: RunContext) -> ModelRecord:
    """The stage's own model once it is trained, else the one before it: the policy that is or will be served."""
    if not context.state.models:
        raise RunFailed(f"run {context.run} has no model before stage {context.state.stage}: its record is damaged")
    return context.state.models[-1]


async def run_all(context: RunContext, tasks: list[Task]) -> list[Rollout]:
    """Results of the tasks; those given up are written down with the reason, so that none is missing unexplained."""
    done, failed = await run_tasks(context, tasks)
    answered = {rollout.key for rollout in done}
    rows = [
        {"key": task.key, "part": task.part, "prompt_id": task.prompt_id, "error": failed[task.key]}
        for task in tasks
        if task.key not in answered
    ]
    await context.write_rows(plan.failures(context.run, context.state.stage, context.state.phase), rows)
    return done
