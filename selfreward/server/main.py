"""What the `__main__` of every service does: read the settings, refuse a bad start in one line, log, serve."""

import argparse
import sys
from collections.abc import Callable
from typing import TypeVar

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError
from pydantic_settings import SettingsError

from selfreward.server.connections import guarded_protocol
from selfreward.server.descriptors import connections_that_fit, raise_descriptor_limit
from selfreward.server.logging import configure_logging
from selfreward.server.startup import StartRefused, check_access, what_is_wrong
from selfreward.settings import Settings

# The status that uvicorn's own command ends with.
_NOT_STARTED = 3
ServiceSettings = TypeVar("ServiceSettings", bound=Settings)
Built = TypeVar("Built")


def prepare(
    settings_class: type[ServiceSettings], build: Callable[[ServiceSettings], Built]
) -> tuple[ServiceSettings, Built]:
    """Settings from the environment, and what `build` makes of them; logging and descriptor limit are set.

    Settings that cannot be used end the process with status 1 and a message instead of a traceback. A service takes no
    arguments: `--help` says so instead of starting it.
    """
    _refuse_arguments(settings_class)
    try:
        settings = settings_class()
    except SettingsError as error:
        sys.exit(str(error))
    except ValidationError as error:
        sys.exit(what_is_wrong(error))
    configure_logging(settings.log_level)
    # Before anything is built that has a bound on connections.
    raise_descriptor_limit()
    try:
        check_access(settings)
        return settings, build(settings)
    except StartRefused as error:
        sys.exit(str(error))


def _refuse_arguments(settings_class: type[Settings]) -> None:
    """End the process for `--help`, with the names of the settings, and for any other argument, with status 2."""
    names = [f"SELFREWARD_{name.upper()}" for name in settings_class.model_fields]
    argparse.ArgumentParser(
        prog=f"python -m {settings_class.__module__.removesuffix('.settings')}",
        description="Serve until SIGTERM. All settings are environment variables, described in "
        f"{settings_class.__module__.replace('.', '/')}.py: {', '.join(names)}",
    ).parse_args()


def server_config(
    app: FastAPI,
    settings: Settings,
    default_port: int,
    *,
    shutdown_seconds: int,
    keep_alive_seconds: int = 5,
    backlog: int = 2048,
    descriptors_each: int = 1,
) -> uvicorn.Config:
    """How uvicorn serves `app` at the address of `settings`.

    After SIGTERM requests in flight have `shutdown_seconds` to end. An idle connection is kept for
    `keep_alive_seconds`; `backlog` connections may wait to be accepted. As many may be open as
    the process has descriptors for, `descriptors_each` for one.
    """
    return uvicorn.Config(
        app,
        http=guarded_protocol(connections_that_fit(descriptors_each)),
        ws="none",
        host=settings.host,
        port=settings.port or default_port,
        log_config=None,
        access_log=False,
        backlog=backlog,
        timeout_keep_alive=keep_alive_seconds,
        timeout_graceful_shutdown=shutdown_seconds,
    )


def serve(server: uvicorn.Server) -> None:
    """Serve until SIGTERM or Ctrl-C. A server that could not start ends the process with status 3."""
    try:
        server.run()
    except KeyboardInterrupt:
        # uvicorn has shut down in good order, and raises what it was sent.
        return
    if not server.started:
        sys.exit(_NOT_STARTED)
