"""One trace from the caller through the judge to the engine."""

import asyncio
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from services.judge.app import create_app
from services.judge.serving.tracing import provider_from_environment
from services.judge.settings import JudgeSettings
from tests.support.judge_engine import Engine, body

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"  # pragma: allowlist secret - a trace id


def call(provider: TracerProvider | None, engine: Engine) -> None:
    async def scenario() -> None:
        settings = JudgeSettings(generator_url="http://engine", judge_cache_seconds=0)
        app = create_app(settings, httpx.ASGITransport(engine.app), provider)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://judge") as client,
        ):
            headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "X-Request-Id": "req-1"}
            assert (await client.post("/v1/judge", json=body("a", "b"), headers=headers)).status_code == 200
            assert (await client.get("/healthz", headers=headers)).status_code == 200

    asyncio.run(scenario())


def test_one_trace_spans_caller_judge_and_engine() -> None:
    exporter, provider, engine = InMemorySpanExporter(), TracerProvider(), Engine()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    call(provider, engine)

    spans = exporter.get_finished_spans()
    (served,) = (span for span in spans if span.kind is SpanKind.SERVER)
    client_spans = [span for span in spans if span.kind is SpanKind.CLIENT]
    assert served.parent is not None
    assert (f"{served.context.trace_id:032x}", f"{served.parent.span_id:016x}") == (TRACE, CALLER)
    assert len(client_spans) == 2
    assert all(span.parent is not None and span.parent.span_id == served.context.span_id for span in client_spans)
    sent = {headers["traceparent"] for headers in engine.headers}
    assert sent == {f"00-{TRACE}-{span.context.span_id:016x}-01" for span in client_spans}
    attributes = dict(served.attributes or {})
    described: dict[str, Any] = {
        "selfreward.items": 2,
        "selfreward.votes": 3,
        "selfreward.policy_version": "policy@7",
        "selfreward.request_id": "req-1",
    }
    assert attributes.items() >= described.items()
    assert str(attributes["selfreward.rubric"]).startswith("countdown@sha256:")
    assert attributes["http.route"] == "/v1/judge"


def test_without_a_collector_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    engine = Engine()

    call(None, engine)

    assert all("traceparent" not in headers for headers in engine.headers)


def test_a_collector_in_the_environment_switches_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert provider_from_environment() is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")

    provider = provider_from_environment()

    assert provider is not None
    assert provider.resource.attributes["service.name"] == "selfreward-judge"
    provider.shutdown()
