"""Connect to an engine: a client for its work and another for probes, slots in fair turns, and a pace."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import httpx

from selfreward.client.aiohttp_transport import AiohttpTransport
from selfreward.client.http import ServiceClient
from services.judge.engine.client import EngineClient
from services.judge.engine.engine import Engine
from services.judge.engine.pace import Pace
from services.judge.engine.parameters import Parameters
from services.judge.engine.slots import FairSlots
from services.judge.engine.tokenizer import EngineTokens
from services.judge.serving.tracing import traced
from services.judge.settings import JudgeSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_PROBE_SECONDS = 3.0


def connect_engine(
    settings: JudgeSettings,
    url: str,
    key: str | None,
    model: str,
    parameters: Mapping[str, Any],
    transport: httpx.AsyncBaseTransport | None = None,
    provider: "TracerProvider | None" = None,
) -> Engine:
    """An engine at a base URL. Its clients `service` and `probe` are the caller's to close.

    `parameters` are added to each request. `transport` replaces the network, `provider` takes the traces.
    """
    work = transport or AiohttpTransport(settings.judge_concurrency)
    slots = FairSlots(settings.judge_concurrency)
    service = EngineClient(
        url,
        key,
        Pace(slots),
        deadline=settings.judge_engine_deadline,
        attempts=settings.judge_engine_attempts,
        transport=traced(work, provider) if provider else work,
    )
    probe = ServiceClient(url, key, deadline=_PROBE_SECONDS, attempts=1, max_connections=8, transport=transport)
    return Engine(service, probe, model, slots, EngineTokens(probe, model), Parameters(parameters))
