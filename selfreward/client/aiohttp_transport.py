"""httpx on aiohttp's connections, for clients that keep many requests in flight.

httpx's own pool walks through all its connections for every request and parses answers in Python. With 64 requests in
flight that costs more CPU per request than the rest of a proxy does; this transport costs about a twentieth of it.
"""

import asyncio
from urllib.request import getproxies

import aiohttp
import httpx
from yarl import URL

# Seconds. vLLM closes connections that were idle for 5 s: reuse none that it is about to close.
_KEEPALIVE = 4.0


class AiohttpTransport(httpx.AsyncBaseTransport):
    """An httpx transport with at most `max_connections` connections. Reads whole answers, so it cannot stream.

    Cancelling a request closes its connection, which tells the server that nobody waits for the answer. Uses the
    environment's proxies unless `proxies` is false.
    """

    def __init__(self, max_connections: int, proxies: bool = True) -> None:
        self._max_connections = max_connections
        self._proxies = proxies
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request. Raises httpx's TransportErrors."""
        limits = request.extensions.get("timeout", {})
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=limits.get("connect"), sock_read=limits.get("read"))
        try:
            async with self._open_session().request(
                request.method,
                URL(str(request.url), encoded=True),
                headers=[(name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers.raw],
                data=await request.aread() or None,
                timeout=timeout,
                allow_redirects=False,
            ) as answer:
                content = await answer.read()
        except aiohttp.ConnectionTimeoutError as error:
            raise httpx.ConnectTimeout(str(error), request=request) from error
        except TimeoutError as error:
            raise httpx.ReadTimeout(str(error), request=request) from error
        except aiohttp.ClientConnectorError as error:
            raise httpx.ConnectError(str(error), request=request) from error
        except (aiohttp.ClientError, OSError) as error:
            raise httpx.ReadError(str(error) or repr(error), request=request) from error
        return httpx.Response(answer.status, headers=answer.raw_headers, content=content, request=request)

    def _open_session(self) -> aiohttp.ClientSession:
        """The session. It is created by the first request, because it belongs to the event loop running then."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._max_connections, keepalive_timeout=_KEEPALIVE),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                # aiohttp looks for a proxy in a thread for each request, so let it only where there is a proxy.
                trust_env=self._proxies and bool(getproxies()),
            )
        return self._session

    async def aclose(self) -> None:
        """Close all connections, and wait until they are."""
        if self._session is not None:
            await self._session.close()
            await asyncio.sleep(0)
