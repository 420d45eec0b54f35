"""The phases `publish` and `reload`: announce a model as the policy, and wait until every generator replica serves
it."""

import asyncio
import socket
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from orchestrator import metrics
from orchestrator.runs.context import RunContext
from orchestrator.runs.errors import RunFailed
from orchestrator.runs.lease import LEASE_KEY, LeaseLost
from selfreward.client.http import ServiceClient, ServiceError
from selfreward.loop.record import ModelRecord
from selfreward.redis.announcements import NotAnnounced, announce
from selfreward.settings import key_of


def replica_urls(url: str) -> list[str]:
    """Base URLs of all addresses of a plain-HTTP host name (headless service, scaled container), else `url`."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None:
        return [url]
    addresses = socket.getaddrinfo(parts.hostname, parts.port or 80, socket.AF_INET, socket.SOCK_STREAM)
    hosts = sorted({str(address[0]) for *_, address in addresses})
    return [urlunsplit(parts._replace(netloc=f"{host}:{parts.port or 80}")) for host in hosts]


async def announce_model(context: RunContext, name: str, artifact: str, digest: str) -> ModelRecord:
    """Announce a published checkpoint. A second announcement has the same version and makes it current again.

    Raises LeaseLost, so that a leader that was paused cannot take the generators back to an older policy.
    """
    try:
        lease = (LEASE_KEY, context.lease.value)
        announced = await announce(context.services.redis, artifact, digest, only_while=lease)
    except NotAnnounced as refused:
        raise LeaseLost(str(refused)) from refused
    return ModelRecord(name=name, policy_version=announced.label, artifact=artifact, digest=digest)


async def serve(context: RunContext, model: ModelRecord) -> None:
    """Announce `model`, since another run may have been served meanwhile, and wait until every replica serves it.

    Raises RunFailed if a replica refused the weights, or if not all replicas serve them within `reload_timeout_s`.
    """
    await announce_model(context, model.name, model.artifact, model.digest)
    settings = context.services.settings
    deadline = time.monotonic() + settings.reload_timeout_s
    async with AsyncExitStack() as stack:
        replicas: dict[str, ServiceClient] = {}
        while True:
            # Ask all replicas; their addresses may change meanwhile.
            try:
                for url in await asyncio.to_thread(replica_urls, settings.generator_url):
                    if url not in replicas:
                        client = ServiceClient(url, key_of(settings), deadline=10, attempts=1)
                        replicas[url] = await stack.enter_async_context(client)
                problem = await _problem(replicas, model)
            except (OSError, ServiceError) as error:
                problem = str(error)
                # An address may have disappeared with its replica.
                replicas.clear()
            # Done, or wait.
            if problem is None:
                return
            await context.check()
            if time.monotonic() > deadline:
                waited = f"{settings.reload_timeout_s:g} s"
                raise RunFailed(f"{model.policy_version} is not served after {waited}: {problem}")
            await asyncio.sleep(min(settings.poll_s, 0.25))


async def served_artifacts(context: RunContext) -> set[str]:
    """Artifacts that the generator replicas serve now. Raises OSError or ServiceError if one does not answer."""
    settings = context.services.settings
    artifacts = set()
    for url in await asyncio.to_thread(replica_urls, settings.generator_url):
        async with ServiceClient(url, key_of(settings), deadline=10, attempts=3) as replica:
            artifacts.add(str((await _weights(replica))["artifact"]))
    return artifacts


async def publish(context: RunContext) -> None:
    """Announce the stage's checkpoint."""
    model = context.state.models[-1]
    announced = await announce_model(context, model.name, model.artifact, model.digest)
    published = model.model_copy(update={"policy_version": announced.policy_version})
    await context.update(models=[*context.other_models, published])
    metrics.ITERATION.set(len(context.state.models))
    await context.progress(1, 1, announced.policy_version)


async def reload(context: RunContext) -> None:
    """Wait until every generator replica serves the stage's model."""
    model = context.state.models[-1]
    await context.progress(0, 1, model.policy_version)
    await serve(context, model)
    await context.progress(1, 1, model.policy_version)


async def _problem(replicas: Mapping[str, ServiceClient], model: ModelRecord) -> str | None:
    """Why some replica does not serve `model` yet, or None. Raises ServiceError if one does not answer."""
    label = model.policy_version
    states = await asyncio.gather(*(_weights(client) for client in replicas.values()))
    for url, state in zip(replicas, states, strict=True):
        for entry in state["refused"]:
            if (entry["label"], entry["digest"]) == (label, model.digest):
                raise RunFailed(f"generator {url} refused {label}: {entry['reason']}")
        if state["label"] != label or state["state"] != "serving":
            return f"generator {url} is {state['state']} with {state['label']}"
    return None


async def _weights(client: ServiceClient) -> dict[str, Any]:
    return dict((await client.request("GET", "/admin/weights")).json())
