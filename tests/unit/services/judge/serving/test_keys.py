"""Who is let in: a keys file is checked to the field, keys are compared by hash, and scopes are held to."""

import asyncio
import os
import subprocess
import sys
import tomllib
import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr

from selfreward.server.keys import SCOPES, Key, Keyring, KeysError, LiveKeyring, load_keyring, load_keys
from selfreward.settings import Settings
from services.judge.app import create_app
from services.judge.settings import JudgeSettings
from tests.support.access import bearer, keys_file, sha256
from tests.support.judge_engine import Engine, body, message, running

SECRET = "srk_what-somebody-pasted"  # pragma: allowlist secret - opens nothing


def test_each_key_is_found_by_its_hash_and_no_other(tmp_path: Path) -> None:
    path = keys_file(tmp_path, alice="", bob='scopes = ["judge", "admin"]\nconcurrency = 2')
    ring = load_keyring(JudgeSettings(keys=path, api_key=SecretStr("ours")))

    keys = {key: ring.find({"authorization": f"Bearer {key}"}) for key in ("alice", "bob", "ours")}

    assert [key.name if key else None for key in keys.values()] == ["alice", "bob", "shared"]
    assert [key.scopes if key else None for key in keys.values()] == [
        ["judge"],
        ["judge", "admin"],
        list(SCOPES),
    ]
    assert [key.concurrency if key else 0 for key in keys.values()] == [None, 2, None]
    for wrong in ("", "Bearer ", "Bearer alic", f"Bearer {sha256('alice')}", "Basic alice", "alice"):
        assert ring.find({"authorization": wrong}) is None
    assert ring.find({}) is None


def test_without_any_key_everybody_may_do_everything() -> None:
    key = load_keyring(JudgeSettings()).find({})

    assert key is not None
    assert (key.scopes, key.rate, key.concurrency) == (list(SCOPES), None, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "keys is missing: add it"),
        ("keys = [", "is not valid TOML"),
        ('[[keys]]\nname = "a b"\nsha256 = "0"', "keys.0.name: String should match"),
        ('[[keys]]\nname = "a"', "keys.0.sha256 is missing: add it"),
        (f'[[keys]]\nname = "a"\nsha256 = "{"0" * 64}"\nscope = ["judge"]', "keys.0.scope: unknown key"),
        (
            f'[[keys]]\nname = "a"\nsha256 = "{"0" * 64}"\nscopes = ["root"]',
            "keys.0.scopes.0: Input should be 'infer'",
        ),
        (f'[[keys]]\nname = "a"\nsha256 = "{"0" * 64}"\nrate = {{ burst = 5 }}', "keys.0.rate.items_per_second"),
        (
            f'[[keys]]\nname = "a"\nsha256 = "{"0" * 64}"\nconcurrency = 0',
            "keys.0.concurrency: Input should be great",
        ),
        (f'[[keys]]\nname = "a"\nsha256 = "{"0" * 64}"\n' * 2, "keys.1.name = 'a' is there twice"),
    ],
)
def test_a_keys_file_that_is_wrong_names_the_field(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(text)

    with pytest.raises(KeysError) as caught:
        create_app(JudgeSettings(keys=path))

    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_a_key_written_where_its_hash_belongs_is_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    for text in (
        f'sha256 = "{SECRET}"',
        f'sha256 = "{"0" * 64}"\nkey = "{SECRET}"',
        f'sha256 = 1\nscopes = "{SECRET}"',
    ):
        path.write_text(f'[[keys]]\nname = "a"\n{text}')

        with pytest.raises(KeysError) as caught:
            load_keys(path)

        assert "keys.0" in str(caught.value)
        assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_shared_key_that_the_file_lists_may_do_no_more_there(tmp_path: Path) -> None:
    path = keys_file(tmp_path, ours='scopes = ["infer"]')

    key = load_keyring(Settings(keys=path, api_key=SecretStr("ours"))).find({"authorization": "Bearer ours"})

    assert key == Key(name="ours", sha256=sha256("ours"), scopes=["infer"])


def test_a_keys_file_that_is_not_there_refuses_to_start(tmp_path: Path) -> None:
    with pytest.raises(KeysError, match=r"SELFREWARD_KEYS=.*nowhere.toml' cannot be read: No such file"):
        create_app(JudgeSettings(keys=tmp_path / "nowhere.toml"))


def test_the_file_is_followed_without_a_restart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    path = keys_file(tmp_path, alice="", bob="concurrency = 2")
    ring = LiveKeyring(JudgeSettings(keys=path), clock=lambda: now)

    def let_in() -> list[str]:
        keys = [ring.find({"authorization": f"Bearer {name}"}) for name in ("alice", "bob", "carol")]
        return [key.name for key in keys if key]

    def written(at: int) -> None:
        """As if the file had been written that many seconds later."""
        os.utime(path, (at, at))

    assert let_in() == ["alice", "bob"]
    keys_file(tmp_path, bob="concurrency = 3", carol="")
    written(1)
    assert let_in() == ["alice", "bob"], "it is looked at once a second"
    now += 1
    assert let_in() == ["bob", "carol"]
    assert (key := ring.find({"authorization": "Bearer bob"})) is not None
    assert key.concurrency == 3

    path.write_text(path.read_text() + "concurency = 1")
    written(2)
    now += 1
    assert let_in() == ["bob", "carol"]
    now += 1
    assert let_in() == ["bob", "carol"]
    path.unlink()
    now += 1
    assert let_in() == ["bob", "carol"]
    errors = [record.__dict__["error"] for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 2, "each is said once"
    assert "keys.1.concurency: unknown key" in errors[0]
    assert "cannot be read: No such file" in errors[1]

    keys_file(tmp_path, alice="")
    written(3)
    now += 1
    assert let_in() == ["alice"]


def test_a_key_that_is_taken_out_is_401_at_the_next_look(tmp_path: Path) -> None:
    path = keys_file(tmp_path, alice="", bob="")

    async def scenario() -> None:
        async with running(Engine(), keys=path) as client:
            assert (await client.get("/v1/rubrics", headers=bearer("bob"))).status_code == 200
            keys_file(tmp_path, alice="")
            os.utime(path, (1, 1))
            await asyncio.sleep(1.1)
            assert (await client.get("/v1/rubrics", headers=bearer("bob"))).status_code == 401
            assert (await client.get("/v1/rubrics", headers=bearer("alice"))).status_code == 200

    asyncio.run(scenario())


def test_a_minted_key_is_let_in(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "selfreward", "keys", "new", "ci", "--scope", "judge", "--scope", "admin"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    (key,) = (word for word in printed.split() if word.startswith("srk_"))
    path = tmp_path / "keys.toml"
    path.write_text(printed)

    (entry,) = load_keys(path)

    assert key not in str(tomllib.loads(printed))
    assert len(key) > 40
    assert Keyring([entry]).find({"authorization": f"Bearer {key}"}) == Key(
        name="ci", sha256=sha256(key), scopes=["judge", "admin"]
    )


def test_wrong_keys_are_401_and_missing_scopes_403(tmp_path: Path) -> None:
    path = keys_file(tmp_path, reader='scopes = ["judge"]', keeper='scopes = ["admin"]')

    async def scenario() -> None:
        async with running(Engine(), keys=path) as client:
            for headers in ({}, bearer("nobody")):
                refused = await client.post("/v1/judge", json=body("a"), headers=headers)
                assert refused.status_code == 401
                assert refused.headers["www-authenticate"] == "Bearer"
            assert (await client.post("/v1/judge", json=body("a"), headers=bearer("reader"))).status_code == 200
            refused = await client.post("/v1/judge", json=body("a"), headers=bearer("keeper"))
            assert refused.status_code == 403
            assert refused.json()["error"]["code"] == "missing_scope"
            assert "key 'keeper' lacks the scope 'judge'" in message(refused)
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/readyz")).status_code == 200
            page = (await client.get("/metrics", headers=bearer("reader"))).text
            assert 'selfreward_judge_refused_total{key="",reason="unauthenticated"}' in page
            assert 'selfreward_judge_refused_total{key="keeper",reason="forbidden"}' in page

    asyncio.run(scenario())


def test_marked_routes_need_the_admin_scope(tmp_path: Path) -> None:
    path = keys_file(tmp_path, reader='scopes = ["judge"]', keeper='scopes = ["admin"]')

    async def scenario() -> list[int]:
        async with running(Engine(), keys=path) as client:
            calls = [("PUT", "reader"), ("PUT", "keeper"), ("GET", "reader"), ("GET", "keeper")]
            answers = [await client.request(method, "/v1/rubrics/mine", headers=bearer(key)) for method, key in calls]
            return [answer.status_code for answer in answers]

    assert asyncio.run(scenario()) == [403, 422, 404, 403]
