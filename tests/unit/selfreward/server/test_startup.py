"""A service starts with settings that it can use and that keep strangers out, or says in one line why it does not."""

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from selfreward.server.keys import new_key
from selfreward.server.startup import StartRefused, check_access, is_default, is_loopback
from selfreward.settings import Settings
from services.judge.settings import JudgeSettings

MODULES = ("services.generator", "services.judge", "services.trainer", "orchestrator")
LONG = "k3yW1th-enough-of-characters"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is tested is that nothing listens there without a key


def variables(**settings: str) -> dict[str, str]:
    """Settings as environment variables."""
    return {f"SELFREWARD_{name}": value for name, value in settings.items()}


def started(module: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A service's process that is expected to end by itself."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SELFREWARD_")}
    settings = variables(**environment)
    command = [sys.executable, "-m", module]
    return subprocess.run(command, env=inherited | settings, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("module", MODULES)
def test_no_service_listens_to_others_without_a_key(module: str) -> None:
    ended = started(module, HOST=EVERYWHERE)

    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "SELFREWARD_HOST=0.0.0.0" in line
    for remedy in ("SELFREWARD_API_KEY", "selfreward keys new", "SELFREWARD_KEYS", "127.0.0.1"):
        assert remedy in line


@pytest.mark.parametrize(
    ("host", "key", "words"),
    [
        (EVERYWHERE, "", "there is no key"),
        ("::", None, "there is no key"),
        ("10.0.0.7", None, "there is no key"),
        ("judge.internal", None, "there is no key"),
        ("", None, "there is no key"),
        (EVERYWHERE, "x7Q" * 7, "has 21 characters, the least is 24"),
        (EVERYWHERE, "changeme", "is a placeholder"),
        (EVERYWHERE, "change-me-change-me-change-me", "is a placeholder"),
        ("127.0.0.1", "changeme", "is a placeholder"),
        ("127.0.0.1", "x" * 64, "is a placeholder"),
    ],
)
def test_a_missing_short_or_default_key_is_refused(host: str, key: str | None, words: str) -> None:
    settings = Settings(host=host, api_key=None if key is None else SecretStr(key))

    with pytest.raises(StartRefused) as caught:
        check_access(settings)

    assert words in str(caught.value)
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_on_loopback_any_key_or_none_will_do(host: str) -> None:
    check_access(Settings(host=host))
    check_access(Settings(host=host, api_key=SecretStr("ours")))


def test_with_a_key_or_a_keys_file_others_may_come(tmp_path: Path) -> None:
    check_access(Settings(host=EVERYWHERE, api_key=SecretStr(LONG)))
    check_access(Settings(host=EVERYWHERE, keys=tmp_path / "keys.toml"))


def test_names_of_other_machines_are_not_loopback() -> None:
    assert not any(is_loopback(host) for host in ("localhost.example.org", "127.0.0.1.example.org", EVERYWHERE, ""))


def test_made_keys_are_not_taken_for_placeholders() -> None:
    words = (
        "secret",
        "your-api-key",
        "CHANGE_ME",
        "selfreward-default-key",
        "12345678901234567890123456",
        "test-token",
    )
    assert all(is_default(word) for word in words)
    assert not any(
        is_default(key) for key in (LONG, *(make() for make in (new_key, secrets.token_hex) for _ in range(100)))
    )


def test_what_is_wrong_is_said_by_variable_and_without_the_value(capsys: pytest.CaptureFixture[str]) -> None:
    cases = {
        "PORT": ("secret-7", "SELFREWARD_PORT: Input should be a valid integer"),
        "REDIS_URL": (
            ":secret-7@redis:6379",
            "SELFREWARD_REDIS_URL: Value error, is no address that begins with redis://",
        ),
        "LOG_LEVEL": ("secret-7", "SELFREWARD_LOG_LEVEL: String should match pattern"),
        "ENGINE_ARGS": ("secret-7", 'error parsing value for field "engine_args"'),
        "KEYS": ("/nowhere/keys.toml", "SELFREWARD_KEYS='/nowhere/keys.toml' cannot be read: No such file"),
        "SECRETS_DIR": ("/nowhere", "SELFREWARD_SECRETS_DIR='/nowhere' is not a folder"),
    }
    for name, (value, words) in cases.items():
        ended = started("services.generator", **{name: value})

        assert ended.returncode == 1, name
        assert words in ended.stderr
        assert len(ended.stderr.splitlines()) <= 2, ended.stderr
        assert "secret-7" not in ended.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("redis_url", ""),
        ("redis_url", "redis:6379"),
        ("redis_url", "redis://"),
        ("redis_url", "redis://:pass/word@redis:6379/0"),
        ("redis_url", "http://redis:6379"),
        ("judge_url", "judge:8001"),
        ("judge_url", "http://"),
        ("generator_url", "http://generator:high"),
        ("orchestrator_url", "127.0.0.1:8002"),
    ],
)
def test_what_is_no_address_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValidationError, match="is no address that begins with"):
        Settings.model_validate({name: value})


@pytest.mark.parametrize(
    "address", ["redis://h", "rediss://u:p@h:1/2", "unix:///run/redis.sock?db=1", "redis://[::1]:6379/0"]
)
def test_any_address_of_a_redis_is_taken(address: str) -> None:
    assert Settings(redis_url=address).redis_url == address


def test_secrets_come_from_files_unless_the_environment_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_file, from_environment = new_key(), new_key()
    # As Kubernetes mounts a secret: a link to a file in a folder that is replaced when the secret changes.
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "selfreward_api_key").write_text(f"{from_file}\n")
    (tmp_path / "selfreward_api_key").symlink_to("..data/selfreward_api_key")
    monkeypatch.setenv("SELFREWARD_SECRETS_DIR", str(tmp_path))

    assert JudgeSettings().api_key == SecretStr(from_file)
    monkeypatch.setenv("SELFREWARD_API_KEY", from_environment)
    assert JudgeSettings().api_key == SecretStr(from_environment)
