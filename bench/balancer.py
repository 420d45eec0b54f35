"""A balancer of connections: it hands them to several ports in turn, like a cluster's network to replicas."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import cycle


@asynccontextmanager
async def balanced(targets: Sequence[int]) -> AsyncIterator[int]:
    """A port on loopback. Each connection to it goes to the next of the ports `targets`.

    Closes a connection whose target does not listen.
    """
    turns = cycle(targets)

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", next(turns))
        except ConnectionError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, target_writer), _copy(target_reader, writer))

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until one side ends, then end the other."""
    # Replicas are killed while connections are open.
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()
