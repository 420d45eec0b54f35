"""`python -m orchestrator`: one replica, settings from the environment."""

import uvicorn

from orchestrator.app import create_app
from orchestrator.settings import DEFAULT_PORT, OrchestratorSettings
from selfreward.server.main import prepare, serve, server_config

# Followers of event streams never hang up by themselves.
_SHUTDOWN_SECONDS = 2


def main() -> None:
    """Serve until SIGTERM."""
    settings, app = prepare(OrchestratorSettings, create_app)
    serve(uvicorn.Server(server_config(app, settings, DEFAULT_PORT, shutdown_seconds=_SHUTDOWN_SECONDS)))


if __name__ == "__main__":
    main()
