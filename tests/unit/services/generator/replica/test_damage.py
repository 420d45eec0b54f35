"""Weights that changed on disk or in the engine's memory after they were checked."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import Canary, InvalidArtifact
from services.generator.checkpoints.checkpoint import Checkpoint, check_again, read_facts, validate
from services.generator.engine.process import EngineProcess
from services.generator.replica.gate import Gate
from services.generator.replica.replica import Replica
from services.generator.replica.watch import prove
from services.generator.settings import GeneratorSettings
from tests.support.checkpoints import CANARY, copy_of, publish
from tests.support.places import M0


def served(store: ArtifactStore) -> Checkpoint:
    """A published checkpoint, as it is served."""
    publish(store, "good", copy_of(M0), proven=False)
    folder = store.fetch("good")
    checkpoint, _ = validate(folder, "policy@0", None)
    return Checkpoint(folder, "policy@0", 0, "good", checkpoint.digest)


def flip_a_bit(folder: Path) -> None:
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-7] ^= 1
    weights.write_bytes(content)


def test_a_restart_serves_no_weights_that_changed_on_disk(tmp_path: Path) -> None:
    """They were served under the digest of what had been there before."""

    async def scenario() -> None:
        store = ArtifactStore(str(tmp_path / "artifacts"))
        settings = GeneratorSettings(work_dir=tmp_path / "work", engine_start_seconds=0.2, engine_stop_seconds=0.1)
        async with httpx.AsyncClient() as http:
            replica = Replica(settings, store, Gate(1, 1, 1.0), http)
            replica.serving = served(store)
            replica._facts = read_facts(replica.serving.folder)
            flip_a_bit(replica.serving.folder)
            healing = asyncio.create_task(replica.heal())
            replica.lose("killed")
            for _ in range(2000):
                if "did not restart" in str(replica.gate.reason):
                    break
                await asyncio.sleep(0.01)
            assert "model.safetensors" in str(replica.gate.reason)
            assert not (tmp_path / "work" / "engine.log").exists(), "no engine may start on them"
            healing.cancel()

    asyncio.run(scenario())


def test_a_damaged_copy_is_fetched_again(tmp_path: Path) -> None:
    store = ArtifactStore(f"memory://{tmp_path.name}", tmp_path / "cache")
    checkpoint = served(store)
    facts = read_facts(checkpoint.folder)
    flip_a_bit(checkpoint.folder)

    check_again(store, checkpoint, facts)

    assert validate(checkpoint.folder, "policy@0", None)[0].digest == checkpoint.digest


def test_other_weights_in_the_place_of_what_was_served_are_refused(tmp_path: Path) -> None:
    """They are whole, by a manifest of their own."""
    store = ArtifactStore(str(tmp_path))
    checkpoint = served(store)
    other = Checkpoint(checkpoint.folder, "policy@0", 0, "good", "0" * 64)
    with pytest.raises(InvalidArtifact, match="announced was 000000"):
        check_again(store, other, read_facts(checkpoint.folder))


@pytest.mark.parametrize(("logprob", "asked", "lost"), [(-1.0, 1, False), (-9.0, 2, True)])
def test_an_engine_whose_memory_changed_is_lost_by_its_second_canary(
    tmp_path: Path, logprob: float, asked: int, lost: bool
) -> None:
    canaries = []

    def engine(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/tokenize":
            return httpx.Response(200, json={"tokens": [1]})
        canaries.append(request)
        logprobs: dict[str, Any] = {"top_logprobs": [{"token_id:5": logprob}]}
        return httpx.Response(200, json={"choices": [{"index": 0, "logprobs": logprobs}]})

    async def scenario() -> None:
        canary = Canary(messages=CANARY, token_ids=[5], candidates=[{5: -1.0}], tolerance=0.1)
        settings = GeneratorSettings(work_dir=tmp_path)
        async with httpx.AsyncClient(transport=httpx.MockTransport(engine)) as http:
            replica = Replica(settings, ArtifactStore(str(tmp_path)), Gate(1, 1, 1.0), http)
            replica.serving = Checkpoint(M0, "policy@0", canary=canary)
            replica.engine = EngineProcess(settings, M0)
            replica.gate.open("policy@0", replica.engine.url)
            await prove(replica)
            assert replica.lost.is_set() is lost
            await replica.stop()

    asyncio.run(scenario())
    assert len(canaries) == asked
