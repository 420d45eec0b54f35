"""What an engine starts on, and the weights that it is given then."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from selfreward.store.artifacts import ArtifactStore
from services.generator.checkpoints.checkpoint import Checkpoint
from services.generator.engine.control import EngineAdmin
from services.generator.replica.swap import begin, start_folder
from services.generator.settings import GeneratorSettings
from tests.support.checkpoints import copy_of, publish
from tests.support.places import M0


@pytest.mark.parametrize("nodes", [1, 2])
def test_an_engine_of_several_nodes_starts_on_what_all_know_and_is_given_the_weights_then(
    tmp_path: Path, nodes: int
) -> None:
    """Else nodes that start at another moment would hold parts of two versions."""
    calls: list[str] = []

    def engine(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else {}
        calls.append(body.get("kwargs", {}).get("weights_path", request.url.path))
        return httpx.Response(200, json={"success": True, "version": "policy@1", "is_paused": "/resume" not in calls})

    async def scenario() -> None:
        digest = publish(ArtifactStore(str(tmp_path)), "new", copy_of(M0), proven=False)
        settings = GeneratorSettings(work_dir=tmp_path / "work", model=M0, engine_nodes=nodes)
        async with httpx.AsyncClient(transport=httpx.MockTransport(engine)) as http:
            checkpoint = Checkpoint(tmp_path / "new", "policy@1", digest=digest)
            known = start_folder(settings, checkpoint)
            await begin(EngineAdmin(http, "http://engine", 5), known, checkpoint, settings)

    asyncio.run(scenario())
    loaded = ["/pause", str(tmp_path / "new"), "/reset_prefix_cache"]
    assert [call for call in calls if call in loaded] == (loaded if nodes == 2 else [])
    assert "/update_weight_version" in calls
