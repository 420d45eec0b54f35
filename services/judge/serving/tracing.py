"""OpenTelemetry traces: from the caller's `traceparent` through the judge to the engine.

Tracing is on when `OTEL_EXPORTER_OTLP_ENDPOINT` (or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`) is set. OpenTelemetry itself
reads its other standard variables (`OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS`, ...). When
tracing is off, its SDK is not imported.
"""

import os
from typing import TYPE_CHECKING

import httpx
from fastapi import FastAPI
from opentelemetry import trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_NOT_TRACED = "healthz,readyz,metrics"


def provider_from_environment() -> "TracerProvider | None":
    """A provider that exports to the configured collector by OTLP over HTTP; None without a collector."""
    if not any(os.environ.get(name) for name in _ENDPOINTS):
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = os.environ.get("OTEL_SERVICE_NAME", "selfreward-judge")
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def trace_requests(app: FastAPI, provider: "TracerProvider") -> None:
    """Make a span for each request to the application, as a child of the caller's span."""
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    FastAPIInstrumentor.instrument_app(
        app, tracer_provider=provider, excluded_urls=_NOT_TRACED, exclude_spans=["receive", "send"]
    )


def traced(transport: httpx.AsyncBaseTransport, provider: "TracerProvider") -> httpx.AsyncBaseTransport:
    """The transport with a span for each request, which it sends as `traceparent`."""
    from opentelemetry.instrumentation.httpx import AsyncOpenTelemetryTransport

    return AsyncOpenTelemetryTransport(transport, tracer_provider=provider)


def describe(**attributes: str | int) -> None:
    """Set attributes, named `selfreward.<name>`, of the current request's span."""
    span = trace.get_current_span()
    if span.is_recording():
        span.set_attributes({f"selfreward.{name}": value for name, value in attributes.items()})
