"""The commands for dead letters, without a Redis."""

import pytest
from typer.testing import CliRunner, Result

from selfreward.cli import main as cli


def selfreward(url: str, *arguments: str) -> Result:
    return CliRunner(env={"SELFREWARD_REDIS_URL": url, "COLUMNS": "200"}).invoke(cli.app, ["dead", *arguments])


def test_without_redis_the_remedy_is_named_and_no_password() -> None:
    result = selfreward("redis://:secret@127.0.0.1:9/0", "list")
    assert result.exit_code == 2
    assert "Redis at 127.0.0.1:9 fails" in result.output
    assert "SELFREWARD_REDIS_URL" in result.output
    assert "secret" not in result.output


@pytest.mark.parametrize("name", ["list", "show", "replay"])
def test_every_command_explains_itself(name: str) -> None:
    result = selfreward("redis://127.0.0.1:9/0", name, "--help")
    assert result.exit_code == 0
    assert "Example" in result.output
