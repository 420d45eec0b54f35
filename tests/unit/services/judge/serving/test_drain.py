"""A real judge process leaves in good order: it says so first, then finishes what it has."""

import asyncio
import signal
import sys
from pathlib import Path

import httpx
import uvicorn
from starlette.responses import Response

from selfreward.processes.child import free_port, log_tail, start_child, stop_child
from tests.support.judge_engine import Engine, body, fours


async def until(client: httpx.AsyncClient, status: int) -> None:
    """Wait until `/readyz` answers so."""
    async with asyncio.timeout(60):
        while True:
            try:
                if (await client.get("/readyz")).status_code == status:
                    return
            except httpx.ConnectError:
                pass
            await asyncio.sleep(0.05)


def test_sigterm_lets_the_work_in_flight_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        requested, release = asyncio.Event(), asyncio.Event()

        async def slow(sent: dict[str, object]) -> Response:
            requested.set()
            await release.wait()
            return fours(sent)

        engine_port, port = free_port(), free_port()
        engine = uvicorn.Server(uvicorn.Config(Engine(slow).app, port=engine_port, log_config=None))
        serving = asyncio.create_task(engine.serve())
        environment = {
            "SELFREWARD_JUDGE_ENGINE_URL": f"http://127.0.0.1:{engine_port}",
            "SELFREWARD_PORT": str(port),
            "SELFREWARD_JUDGE_DRAIN_NOTICE": "1.5",
        }
        log = tmp_path / "judge.log"
        process = start_child([sys.executable, "-m", "services.judge"], log, environment)
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                await until(client, 200)
                judging = asyncio.create_task(client.post("/v1/judge", json=body("a", "b")))
                await asyncio.wait_for(requested.wait(), 30)

                process.send_signal(signal.SIGTERM)
                await until(client, 503)
                assert (await client.get("/healthz")).status_code == 200  # connections are still taken
                assert process.poll() is None
                async with asyncio.timeout(30):
                    while await accepts(port):  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
                assert process.poll() is None
                assert not judging.done()

                release.set()
                answer = await judging
                assert answer.status_code == 200
                assert [judgment["score"] for judgment in answer.json()["data"]] == [4, 4]
            status = await asyncio.to_thread(process.wait, 30)
            assert status in (0, -signal.SIGTERM), log_tail(log)
        finally:
            stop_child(process, grace=0)
            engine.should_exit = True
            await serving

    asyncio.run(scenario())


async def accepts(port: int) -> bool:
    """Whether a new connection is taken."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True
