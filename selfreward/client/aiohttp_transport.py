"""httpx on aiohttp's connections, for clients that keep many requests in flight.

httpx's own pool goes through all its connections for every request and parses answers in Python. With 64 requests in
flight that costs more CPU for each than the rest of a service that passes them on; this costs about a twentieth of it.
"""

import asyncio
from urllib.request import getproxies

import aiohttp
import httpx
from yarl import URL

# vLLM closes connections that were idle for 5 s; one about to be closed must not be used again.
_KEEPALIVE = 4.0


class AiohttpTransport(httpx.AsyncBaseTransport):
    """At most `max_connections` at a time. Answers are read whole, so it is not for streams.

    A cancelled request closes its connection, which is how the server learns that nobody waits any more. Requests go
    over the environment's proxies unless `proxies` is false.
    """

    def __init__(self, max_connections: int, proxies: bool = True) -> None:
        self._max_connections = max_connections
        self._proxies = proxies
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; errors are httpx's TransportErrors."""
        limits = request.extensions.get("timeout", {})
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=limits.get("connect"), sock_read=limits.get("read"))
        try:
            async with self._opened().request(
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

    def _opened(self) -> aiohttp.ClientSession:
        """The session, made at the first request because it belongs to the event loop that runs then."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._max_connections, keepalive_timeout=_KEEPALIVE),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                # Looking for a proxy takes aiohttp a thread for each request: only where there is one.
                trust_env=self._proxies and bool(getproxies()),
            )
        return self._session

    async def aclose(self) -> None:
        """Close all connections, and wait until they are."""
        if self._session is not None:
            await self._session.close()
            await asyncio.sleep(0)
