"""Have the fixed model write a run's new prompts, by Self-Instruct, resumable after a crash."""

import asyncio
import random

from orchestrator.runs.context import RunContext
from orchestrator.runs.errors import RunFailed
from selfreward.client.generator import Generation
from selfreward.contracts.base import Message
from selfreward.loop.record import ModelRecord
from selfreward.loop.self_instruct import Pool, demonstrations, parse_tasks, request_text
from selfreward.loop.tasks import seed_of

_AT_ONCE = 16


async def write_prompts(
    context: RunContext, model: ModelRecord, human: list[str], needed: int, part: str = "self-instruct"
) -> list[str]:
    """`needed` prompts written by `model`. The same run writes the same ones; each `part` of a run, others.

    Accepted prompts and the number of finished requests are kept in Redis, so that a restart goes on. Raises RunFailed
    when `max_requests` are used up, RunStopped when asked to stop.
    """
    options = context.recipe.prompts.self_instruct
    redis, key = context.services.redis, f"selfreward:run:{context.run}:{part}"
    pool = Pool(human, await redis.lrange(f"{key}:accepted", 0, -1), options)
    asked = int(await redis.get(f"{key}:requests") or 0)
    while len(pool.accepted) < needed:
        await context.check()
        if asked >= options.max_requests:
            raise RunFailed(
                f"self-instruct gave {len(pool.accepted)} of {needed} prompts in {asked} requests: raise "
                "prompts.self_instruct.max_requests or rouge_max, or use prompts.source='file'"
            )
        known = len(pool.accepted)
        numbers = range(asked, min(asked + _AT_ONCE, options.max_requests))
        for reply in await asyncio.gather(*(_ask(context, model, human, pool, part, number) for number in numbers)):
            answer = reply.responses[0]
            for task in parse_tasks(answer.text, truncated=answer.finish_reason == "length"):
                pool.offer(task)
        asked = numbers.stop
        async with redis.pipeline(transaction=True) as pipeline:
            if pool.accepted[known:]:
                pipeline.rpush(f"{key}:accepted", *pool.accepted[known:])
            pipeline.set(f"{key}:requests", asked)
            await pipeline.execute()
        await context.progress(min(needed, len(pool.accepted)), needed, metrics={"requests": float(asked)})
    return pool.accepted[:needed]


async def _ask(
    context: RunContext, model: ModelRecord, human: list[str], pool: Pool, part: str, number: int
) -> Generation:
    options = context.recipe.prompts.self_instruct
    seed = seed_of(context.recipe.seed, part, number)
    shown = demonstrations(human, pool.accepted, random.Random(seed))  # noqa: S311 - guards no secret
    return await context.services.generator.chat(
        [Message(role="user", content=request_text(shown))],
        temperature=options.temperature,
        top_p=options.top_p,
        max_tokens=options.max_tokens,
        seed=seed,
        model=model.policy_version,
    )
