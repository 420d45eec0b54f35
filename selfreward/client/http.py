"""The HTTP client of the services: pooled connections, a deadline, retries only where they can help."""

import asyncio
import functools
from collections.abc import Mapping, Set
from typing import Any

import httpx

from selfreward.backoff import backoff

RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})
_LONGEST_WAIT_SECONDS = 30.0


class ServiceError(RuntimeError):
    """A service answered with an error that no retry helps, or kept failing.

    `status` is the last one, if any, and `body` what came with it.
    """

    def __init__(self, message: str, status: int | None = None, body: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = body


class WrongPolicyVersion(ServiceError):
    """The replica serves another policy version than the request pinned (HTTP 409)."""


class ServiceClient:
    """A pool of connections to one base URL.

    Retries 429, 5xx, whatever has a `Retry-After`, and transport errors up to `attempts` times within `deadline`
    seconds, with a `backoff` that begins at `base_delay` seconds (at least `Retry-After` where the service sends one).
    A `transport` is called directly, which saves a third of httpx's CPU time for a request. Without one, requests go
    through httpx's own pool and the environment's proxies.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        deadline: float = 600.0,
        attempts: int = 8,
        base_delay: float = 0.2,
        max_connections: int = 256,
        transport: httpx.AsyncBaseTransport | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        authorization = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._headers = httpx.Headers({"User-Agent": "selfreward", **authorization, **(headers or {})})
        self._timeout = httpx.Timeout(deadline, connect=10.0, pool=deadline).as_dict()
        self._client = httpx.AsyncClient(
            limits=httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections),
            transport=transport,
        )
        self._send = transport.handle_async_request if transport else self._client.send
        self._base = base_url.rstrip("/")
        self._deadline = deadline
        self._attempts = attempts
        self._base_delay = base_delay

    async def __aenter__(self) -> "ServiceClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the pool."""
        await self._client.aclose()

    async def request(
        self,
        method: str,
        path: str,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        retried: Set[int] = RETRIED_STATUSES,
    ) -> httpx.Response:
        """A successful (2xx) response. `retried` are the statuses after which the request is tried again.

        Raises WrongPolicyVersion on 409, ServiceError on everything else."""
        try:
            async with asyncio.timeout(self._deadline):
                return await self._attempt(method, path, json, headers, retried)
        except TimeoutError:
            raise ServiceError(f"{method} {self._base}{path}: no answer in {self._deadline:g} s") from None

    async def _attempt(
        self, method: str, path: str, json: Any, headers: Mapping[str, str] | None, retried: Set[int]
    ) -> httpx.Response:
        failure, status = "", None
        waits = backoff(self._base_delay, _LONGEST_WAIT_SECONDS)
        for attempt in range(self._attempts):
            wait = next(waits)
            try:
                response = await self._once(method, path, json, headers)
            except (httpx.TransportError, httpx.DecodingError) as error:
                failure, status = f"{type(error).__name__}: {error}", None
            else:
                if response.is_success:
                    return response
                failure, status = f"HTTP {response.status_code}: {message_of(response)}", response.status_code
                if status not in retried and "retry-after" not in response.headers:
                    refusal = WrongPolicyVersion if status == 409 else ServiceError
                    raise refusal(f"{method} {response.url}: {failure}", status, response.text)
                wait = max(wait, _retry_after(response))
            if attempt + 1 < self._attempts:
                await asyncio.sleep(min(wait, _LONGEST_WAIT_SECONDS))
        url = f"{self._base}{path}"
        raise ServiceError(f"{method} {url}: failed {self._attempts} times, at last with {failure}", status)

    async def _once(self, method: str, path: str, json: Any, headers: Mapping[str, str] | None) -> httpx.Response:
        sent = self._headers
        if headers:
            sent = sent.copy()
            sent.update(headers)
        extensions = {"timeout": self._timeout}
        request = httpx.Request(method, _url(self._base, path), headers=sent, json=json, extensions=extensions)
        response = await self._send(request)
        response.request = request
        await response.aread()
        return response


def message_of(response: httpx.Response) -> str:
    """An error's whole message without the JSON around it; of what another server answers the first 500 characters."""
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return response.text[:500]


@functools.lru_cache(maxsize=256)
def _url(base: str, path: str) -> httpx.URL:
    """A URL that is parsed once: httpx parses it twice for each request, a seventh of the CPU time of a judgment."""
    return httpx.URL(base + path)


def _retry_after(response: httpx.Response) -> float:
    value = response.headers.get("retry-after", "")
    return float(value) if value.replace(".", "", 1).isdigit() else 0.0
