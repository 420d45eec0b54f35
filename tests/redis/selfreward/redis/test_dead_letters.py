"""Dead letters on a real Redis: read page by page, replayed once, and the commands for it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from typer.testing import CliRunner, Result

from selfreward.cli import main as cli
from selfreward.redis.connection import connect
from selfreward.redis.dead_letters import Letter, letters, queues, replay
from selfreward.redis.queue import Item, WorkQueue


def with_queue(url: str, check: Callable[[WorkQueue], Awaitable[None]]) -> None:
    async def main() -> None:
        async with connect(url) as redis:
            await check(WorkQueue(redis, "test"))

    asyncio.run(main())


async def bury(queue: WorkQueue, *keys: str, error: str = "it broke") -> None:
    items: list[Item] = [(key, {"prompt": f"of {key}"}) for key in keys]
    await queue.put_many(items)
    for work in await queue.take("one", count=len(keys)):
        await queue.dead_letter(work, error)


async def all_letters(queue: WorkQueue) -> list[Letter]:
    return [letter async for letter in letters(queue.redis, "test")]


def selfreward(url: str, *arguments: str) -> Result:
    return CliRunner(env={"SELFREWARD_REDIS_URL": url, "COLUMNS": "200"}).invoke(cli.app, ["dead", *arguments])


def test_a_replayed_item_is_new_and_its_letter_is_gone(each_redis_url: str) -> None:
    async def check(queue: WorkQueue) -> None:
        await queue.put("a", {"n": 1})
        (work,) = await queue.take("one")
        await queue.failed(work, "an earlier error")
        await queue.dead_letter(work, "it broke")
        (letter,) = await all_letters(queue)
        assert (letter.queue, letter.key, letter.error, letter.deliveries) == ("test", "a", "it broke", 1)
        assert await queues(queue.redis) == ["test"]
        await queue.redis.config_set("maxmemory", 1)
        try:
            assert await replay(queue.redis, letter) == "queued"
        finally:
            await queue.redis.config_set("maxmemory", 0)
        assert await all_letters(queue) == []
        assert not await queue.put("a", {}), "it is known again"
        (work,) = await queue.take("one")
        assert (work.body, work.deliveries) == ({"n": 1}, 1)

    with_queue(each_redis_url, check)


def test_replaying_at_once_queues_each_item_once(each_redis_url: str) -> None:
    async def check(queue: WorkQueue) -> None:
        keys = [str(n) for n in range(1_200)]
        await bury(queue, *keys)
        found = await all_letters(queue)
        assert [letter.key for letter in found] == keys
        outcomes = Counter(await asyncio.gather(*(replay(queue.redis, letter) for letter in found * 2)))
        assert outcomes == {"queued": 1_200, "gone": 1_200}
        assert Counter(work.key for work in await queue.take("one", count=5_000)) == Counter(keys)

    with_queue(each_redis_url, check)


def test_what_is_queued_already_is_not_queued_by_its_letters_too(each_redis_url: str) -> None:
    async def check(queue: WorkQueue) -> None:
        await bury(queue, "a")
        await bury(queue, "a")
        first, second = await all_letters(queue)
        assert await replay(queue.redis, first) == "queued"
        assert await replay(queue.redis, second) == "already queued"
        assert await queue.length() == 1
        assert await all_letters(queue) == []

    with_queue(each_redis_url, check)


def test_the_commands_list_show_and_replay(redis_url: str) -> None:
    assert "no dead letters" in selfreward(redis_url, "list").output
    with_queue(redis_url, lambda queue: bury(queue, "[a]", "b", "c", error="[red] it broke"))

    listed = selfreward(redis_url, "list", "test", "--most", "2")
    assert listed.exit_code == 0, listed.output
    for words in ("[a]", "[red] it broke", "test: 3", "1 more"):
        assert words in listed.output
    assert "no dead letters" in selfreward(redis_url, "list", "other").output

    shown = selfreward(redis_url, "show", "[a]")
    assert '"prompt": "of [a]"' in shown.output
    assert "[red] it broke" in shown.output

    assert "queued 1, already queued 0" in selfreward(redis_url, "replay", "[a]").output
    assert selfreward(redis_url, "replay", "[a]").exit_code == 1
    assert "queued 0" in selfreward(redis_url, "replay", "--all", "--queue", "other").output
    assert "queued 2, already queued 0" in selfreward(redis_url, "replay", "--all").output
    assert "no dead letters" in selfreward(redis_url, "list").output

    async def check(queue: WorkQueue) -> None:
        assert sorted(work.key for work in await queue.take("one", count=9)) == ["[a]", "b", "c"]

    with_queue(redis_url, check)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("show", "none"), 1, "no dead letter has the key 'none'"),
        (("replay",), 2, "give a KEY or --all"),
        (("replay", "a", "--all"), 2, "give a KEY or --all"),
        (("replay", "a", "--queue", "test"), 2, "--queue goes with --all"),
    ],
)
def test_mistakes_say_what_to_do(redis_url: str, arguments: tuple[str, ...], status: int, words: str) -> None:
    result = selfreward(redis_url, *arguments)
    assert result.exit_code == status
    assert words in " ".join(result.output.split())
