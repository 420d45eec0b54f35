"""A TCP proxy whose connections can be cut: a network that fails, for processes that know only an address."""

import asyncio
import threading
import time
from types import TracebackType


class Proxy:
    """Passes every connection to `port` on to `target` (ports on loopback), in a thread of its own."""

    def __init__(self, port: int, target: int) -> None:
        self._port = port
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._down_until = 0.0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._listening = threading.Event()
        self._ended: asyncio.Event | None = None

    def __enter__(self) -> "Proxy":
        self._thread.start()
        self._listening.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._ended is not None:
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    def cut(self, seconds: float) -> None:
        """Break all connections now, and each new one for this long."""
        self._down_until = time.monotonic() + seconds
        self._loop.call_soon_threadsafe(self._break_all)

    def _break_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _serve(self) -> None:
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        self._ended = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", self._port)
        self._listening.set()
        await self._ended.wait()
        server.close()
        self._break_all()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if time.monotonic() < self._down_until:
            writer.transport.abort()
            return
        self._writers.add(writer)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(back)
        await asyncio.gather(_pass(reader, back), _pass(there, writer))
        self._writers -= {writer, back}


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until one side ends, then end the other."""
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
