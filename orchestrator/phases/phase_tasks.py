"""What the phases that ask the workers have in common: who serves, and what became of every task."""

from typing import Any

from orchestrator.phases.ask_workers import run_tasks
from orchestrator.runs.context import RunContext, RunFailed
from orchestrator.runs.state import ModelRecord
from selfreward.contracts.judging import Response, Rollout
from selfreward.loop import plan
from selfreward.loop.tasks import PromptItem, Task


def present(context: RunContext) -> ModelRecord:
    """The stage's own model once it is trained, else the one before it: the policy that is or will be served."""
    if not context.state.models:
        raise RunFailed(f"run {context.run} has no model before stage {context.state.stage}: its record is damaged")
    return context.state.models[-1]


def made(context: RunContext, stage: str | None) -> ModelRecord:
    """The model that a stage has made."""
    for model in context.state.models:
        if model.name == stage:
            return model
    raise RunFailed(f"run {context.run} has no model {stage}: its record is damaged")


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


def items_of(rows: list[dict[str, Any]]) -> list[PromptItem]:
    """Rows of prompts, with their answers where they have any."""
    return [
        PromptItem(
            prompt_id=row["prompt_id"],
            prompt=row["prompt"],
            responses=[Response(text=response["text"]) for response in row.get("responses", [])],
        )
        for row in rows
    ]
