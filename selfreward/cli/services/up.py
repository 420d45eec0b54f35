"""`selfreward up`: the services as local processes."""

import asyncio
import importlib.util
import os
import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from selfreward.cli.options import Folder
from selfreward.cli.output import say
from selfreward.processes.stack_file import StackError


def up(
    folder: Folder = Path("runs/local"),
    model: Annotated[
        Path | None,
        typer.Option(help="Checkpoint folder to serve until a run publishes a model.", envvar="SELFREWARD_MODEL"),
    ] = None,
    port: Annotated[
        list[str] | None,
        typer.Option(
            help="Port of a part, for example judge=9001; may be given again. Without it, its own where that is free.",
            metavar="NAME=PORT",
            envvar="SELFREWARD_PORTS",
        ),
    ] = None,
    redis: Annotated[str | None, typer.Option(help="URL of a Redis to use instead of starting one.")] = None,
) -> None:
    """Start Redis, generator, judge, trainer and orchestrator as local processes, until Ctrl-C.

    The parts are redis, generator, judge, orchestrator and trainer. Their addresses are printed and written to
    stack.json in the folder, where the other commands find them while the services run.

    Examples: selfreward up --model examples/worlds/countdown/m0; selfreward up --port judge=9001 --port redis=7000

    Exit status: 0 stopped by Ctrl-C, 2 something did not start or has ended.
    """
    from selfreward.processes.stack import LocalStack, choose_ports

    if importlib.util.find_spec("orchestrator") is None:
        raise StackError("the services are not in the package: run `selfreward up` in a checkout, or docker compose up")
    if model is not None and not (model / "config.json").is_file():
        raise StackError(f"--model {model} has no config.json: give a checkpoint folder in Hugging Face layout")
    ports = choose_ports(dict(_named_port(text) for text in port or ()))
    environment = {name: os.environ[name] for name in ("SELFREWARD_ARTIFACTS",) if os.environ.get(name)}
    if model is not None:
        environment["SELFREWARD_MODEL"] = str(model.resolve())
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with LocalStack(folder, ports, environment, redis) as stack:
            say(f"{'redis':<13} {stack.urls['redis']}")
            stack.wait_healthy(report=lambda name: say(f"{name:<13} {stack.urls[name]}"))
            if model is not None or asyncio.run(_is_announced(stack.urls["redis"])):
                say("loading the model")
                stack.wait_serving()
                say(f"ready; logs in {folder / 'logs'}; Ctrl-C stops everything")
            else:
                say(f"ready for runs; no model is served until one publishes it (--model); logs in {folder / 'logs'}")
            while True:
                stack.check()
                time.sleep(1)
    except KeyboardInterrupt:
        say("stopped")


def _named_port(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not number.isdecimal() or not 0 < int(number) < 65536:
        raise typer.BadParameter(f"{text!r} is not of the form NAME=PORT, for example judge=9001", param_hint="--port")
    return name, int(number)


async def _is_announced(url: str) -> bool:
    """Whether an earlier run has announced a policy, which the generator then serves."""
    from selfreward.redis.announcements import current
    from selfreward.redis.connection import connect_briefly

    async with connect_briefly(url, decode_responses=True) as client:
        return await current(client) is not None
