"""The phase `prompts`: a stage's slice of the prompts, or new ones that a model writes by Self-Instruct."""

import asyncio
import random

from orchestrator.phases.ask_workers import current_model
from orchestrator.phases.serving import serve
from orchestrator.runs.context import RunContext
from orchestrator.runs.errors import RunFailed
from selfreward.client.generator import Generation
from selfreward.contracts.base import Message
from selfreward.loop import paths
from selfreward.loop.record import ModelRecord
from selfreward.loop.self_instruct import Pool, demonstrations, parse_tasks, prompt_rows, request_text
from selfreward.loop.tasks import seed_of

_AT_ONCE = 16


async def prompts(context: RunContext) -> None:
    """Write the prompts that the stage answers. With Self-Instruct, M0 may write the prompts of all rounds."""
    run, recipe, stage, method = context.run, context.recipe, context.state.stage, context.method
    if not method.writes_prompts(recipe, stage):
        rows = method.prompts(recipe, stage, await context.inputs("prompts"))
        await context.write_rows(paths.prompts(run, stage), rows)
        await context.progress(len(rows), len(rows))
        return
    # New prompts of a model, for the whole run or for this round.
    model = current_model(context)
    await serve(context, model)
    human = [row["prompt"][-1]["content"] for row in await context.read_rows(paths.data(run, "ift"))]
    size = recipe.prompts.per_iteration
    if method.kind(recipe, stage) == "base":
        written = await write_prompts(context, model, human, size * method.slices(recipe))
        await context.write_rows(paths.data(run, "prompts"), prompt_rows(written, "prompts"))
        return
    written = await write_prompts(context, model, human, size, f"self-instruct-{stage}")
    await context.write_rows(paths.prompts(run, stage), prompt_rows(written, stage.lower()))
    await context.progress(size, size)


async def write_prompts(
    context: RunContext, model: ModelRecord, human: list[str], needed: int, part: str = "self-instruct"
) -> list[str]:
    """`needed` prompts that `model` writes. The draw depends on the recipe's seed and on `part`.

    Accepted prompts and the number of finished requests are stored in Redis, so a restart continues. Raises RunFailed
    when `max_requests` are used up, and RunStopped when the run is to stop.
    """
    options = context.recipe.prompts.self_instruct
    redis, key = context.services.redis, f"selfreward:run:{context.run}:{part}"
    pool = Pool(human, await redis.lrange(f"{key}:accepted", 0, -1), options)
    requests = int(await redis.get(f"{key}:requests") or 0)
    while len(pool.accepted) < needed:
        await context.check()
        if requests >= options.max_requests:
            raise RunFailed(
                f"self-instruct gave {len(pool.accepted)} of {needed} prompts in {requests} requests: raise "
                "prompts.self_instruct.max_requests or rouge_max, or use prompts.source='file'"
            )
        # Ask for tasks, several requests at a time.
        accepted_before = len(pool.accepted)
        numbers = range(requests, min(requests + _AT_ONCE, options.max_requests))
        for reply in await asyncio.gather(*(_ask(context, model, human, pool, part, number) for number in numbers)):
            answer = reply.responses[0]
            for task in parse_tasks(answer.text, truncated=answer.finish_reason == "length"):
                pool.offer(task)
        # Store the accepted ones with the number of requests, in one transaction.
        requests = numbers.stop
        async with redis.pipeline(transaction=True) as pipeline:
            if pool.accepted[accepted_before:]:
                pipeline.rpush(f"{key}:accepted", *pool.accepted[accepted_before:])
            pipeline.set(f"{key}:requests", requests)
            await pipeline.execute()
        await context.progress(min(needed, len(pool.accepted)), needed, metrics={"requests": float(requests)})
    return pool.accepted[:needed]


async def _ask(
    context: RunContext, model: ModelRecord, human: list[str], pool: Pool, part: str, number: int
) -> Generation:
    options = context.recipe.prompts.self_instruct
    seed = seed_of(context.recipe.seed, part, number)
    examples = demonstrations(human, pool.accepted, random.Random(seed))  # noqa: S311 - guards no secret
    return await context.services.generator.chat(
        [Message(role="user", content=request_text(examples))],
        temperature=options.temperature,
        top_p=options.top_p,
        max_tokens=options.max_tokens,
        seed=seed,
        model=model.policy_version,
    )
