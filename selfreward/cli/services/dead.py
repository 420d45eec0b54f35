"""`selfreward dead`: see what was given up, why, and queue it again."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from selfreward.cli.on_redis import on_redis
from selfreward.cli.output import stderr, stdout

if TYPE_CHECKING:
    from selfreward.redis.connection import RedisClient
    from selfreward.redis.dead_letters import Letter

commands = typer.Typer(
    no_args_is_help=True,
    help="Dead letters: work that was given up after its last delivery, kept with its error until somebody looks.\n\n"
    "Read them, mend what broke, and queue them again. Nothing else ever removes them.",
)


async def _matching(redis: "RedisClient", queue: str | None, key: str | None) -> "AsyncIterator[Letter]":
    from selfreward.redis.dead_letters import letters, queues

    for name in [queue] if queue else await queues(redis):
        async for letter in letters(redis, name):
            if key is None or letter.key == key:
                yield letter


@commands.command("list")
def list_(
    queue: Annotated[str | None, typer.Argument(help="One queue, for example rollouts or train; else all.")] = None,
    most: Annotated[int, typer.Option(min=1, help="Letters to show, the oldest first; all are counted.")] = 100,
) -> None:
    """List the dead letters: queue, key, when and after how many deliveries each was given up, and its error.

    Example: selfreward dead list rollouts

    Redis is at SELFREWARD_REDIS_URL (default redis://127.0.0.1:6379/0).
    """

    async def work(redis: "RedisClient") -> "tuple[list[Letter], Counter[str]]":
        shown, counts = [], Counter[str]()
        async for letter in _matching(redis, queue, None):
            counts[letter.queue] += 1
            if counts.total() <= most:
                shown.append(letter)
        return shown, counts

    shown, counts = on_redis(work)
    if not shown:
        stdout.print("no dead letters")
        return
    table = Table("queue", "key", "given up (UTC)", "deliveries", "error")
    for letter in shown:
        moment = letter.given_up_at.strftime("%Y-%m-%d %H:%M:%S")
        cells = (letter.queue, letter.key, moment, str(letter.deliveries), letter.error)
        table.add_row(*(Text(cell, overflow="fold") for cell in cells))
    stdout.print(table)
    stdout.print(", ".join(f"{name}: {count:,}" for name, count in sorted(counts.items())), highlight=False)
    if counts.total() > len(shown):
        stdout.print(f"{counts.total() - len(shown):,} more: --most {counts.total()}", highlight=False)


@commands.command()
def show(key: Annotated[str, typer.Argument(help="Key as `selfreward dead list` shows it.")]) -> None:
    """Show all of a dead letter: its whole error and the item's body.

    Example: selfreward dead show 0a5c93

    Exit status: 0 shown, 1 no such letter, 2 Redis fails.
    """

    async def work(redis: "RedisClient") -> "list[Letter]":
        return [letter async for letter in _matching(redis, None, key)]

    shown = on_redis(work)
    for letter in shown:
        stdout.print(
            f"queue      {letter.queue}\nkey        {letter.key}", markup=False, highlight=False, soft_wrap=True
        )
        stdout.print(f"given up   {letter.given_up_at.isoformat(timespec='seconds')}", markup=False, highlight=False)
        stdout.print(f"deliveries {letter.deliveries}", highlight=False)
        stdout.print(f"error      {letter.error}", markup=False, highlight=False, soft_wrap=True)
        stdout.print_json(json.dumps(json.loads(letter.body), ensure_ascii=False))
    if not shown:
        _refuse_unknown(key)


@commands.command("replay")
def replay_(
    key: Annotated[str | None, typer.Argument(help="Key as `selfreward dead list` shows it.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All dead letters, instead of one key's.")] = False,
    queue: Annotated[str | None, typer.Option(help="With --all: of this queue only.")] = None,
) -> None:
    """Queue dead letters again, as new: their deliveries are counted from one, and the letter is gone.

    Each letter is moved in one step, so replaying twice, or two people at once, queue an item once. What is in the
    queue already (a resumed run puts its own prompts again) is not queued a second time.

    Examples: selfreward dead replay 0a5c93; selfreward dead replay --all --queue rollouts

    Mend the cause first: what fails again comes back here. A failed run is continued by `selfreward resume`, which
    needs no replay.

    Exit status: 0 done, 1 no such letter, 2 a mistake or Redis fails.
    """
    if every == (key is not None):
        raise typer.BadParameter("give a KEY or --all, not both and not neither")
    if queue and not every:
        raise typer.BadParameter("--queue goes with --all: a key is looked for in all queues")

    from selfreward.redis.dead_letters import replay

    async def work(redis: "RedisClient") -> Counter[str]:
        return Counter([await replay(redis, letter) async for letter in _matching(redis, queue, key)])

    outcomes = on_redis(work)
    if key is not None and not outcomes:
        _refuse_unknown(key)
    stdout.print(f"queued {outcomes['queued']:,}, already queued {outcomes['already queued']:,}", highlight=False)


def _refuse_unknown(key: str) -> None:
    stderr.print(f"no dead letter has the key {key!r}; `selfreward dead list` shows all", markup=False, soft_wrap=True)
    raise typer.Exit(1)
