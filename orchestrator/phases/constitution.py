"""What method `constitutional` does in the phases `rollouts` and `pairs`: revised answers for M1, then comparisons."""

from collections.abc import Sequence

from orchestrator.runs.context import RunContext
from orchestrator.runs.errors import RunFailed
from selfreward.contracts.rollouts import Rollout
from selfreward.loop import paths, plan
from selfreward.loop.constitution import Constitution
from selfreward.loop.methods.constitutional import revised_rows
from selfreward.loop.tasks import PromptItem, Task, choice_tasks, revision_tasks


async def by_constitution(context: RunContext, prompts: Sequence[PromptItem], policy: str) -> list[Task]:
    """The stage's tasks, by the constitution that the run keeps."""
    run, recipe, stage = context.run, context.recipe, context.state.stage
    (kept,) = await context.read_rows(paths.data(run, "constitution"))
    make = revision_tasks if plan.kind(recipe, stage) == "revised" else choice_tasks
    return make(run, recipe, stage, prompts, Constitution.model_validate(kept), policy)


async def keep_revisions(context: RunContext, done: Sequence[Rollout]) -> None:
    """Write the SFT rows of M1's revised answers, and what became of each chain. RunFailed when none can be used."""
    rows, counts = revised_rows(done)
    if not rows:
        raise RunFailed(
            f"no revised answer can be trained on: {counts}; if most are truncated, raise sampling.max_tokens"
        )
    await context.write_rows(paths.revisions(context.run), rows)
    await context.write_json(f"runs/{context.run}/revisions.json", {"prompts": len(done), **counts})
    await context.progress(len(done), len(done), metrics={name: float(count) for name, count in counts.items()})
