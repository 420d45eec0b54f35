"""What a replica makes of an engine that is gone when new weights are announced."""

import asyncio
from pathlib import Path

import pytest

from selfreward.announcements import Announced
from selfreward.artifacts import ArtifactStore
from services.generator.checkpoint import Checkpoint
from services.generator.engine import EngineProcess
from services.generator.engine_client import control_client
from services.generator.gate import Gate
from services.generator.refusals import EngineRestarting
from services.generator.replica import Replica
from services.generator.settings import GeneratorSettings
from tests.service.checkpoints import copy_of, publish

MODEL = Path(__file__).resolve().parents[2] / "examples" / "countdown" / "m0"


def test_weights_are_not_blamed_for_an_engine_that_was_gone_before_they_were_tried(tmp_path: Path) -> None:
    """Else three engines that are killed for other reasons would get good weights refused, and their run failed."""
    store = ArtifactStore(str(tmp_path / "artifacts"))
    digest = publish(store, "new", copy_of(MODEL), proven=False)
    settings = GeneratorSettings(work_dir=tmp_path / "work")

    async def adopt() -> Replica:
        async with control_client() as http:
            replica = Replica(settings, store, Gate(1, 1, 1.0), http)
            replica.serving = Checkpoint(MODEL, "policy@0")
            replica.engine = EngineProcess(settings, MODEL, http)
            with pytest.raises(EngineRestarting, match="was not tried yet"):
                await replica.adopt(Announced(version=1, artifact="new", digest=digest))
            await replica.stop()
        return replica

    replica = asyncio.run(adopt())
    assert not replica.refused
    assert replica.state == "restarting"
