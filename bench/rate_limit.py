"""What the judge loses to an engine that limits its rate: the rows of a file, and time beyond the limit's own.

Writes bench/results/rate_limit.json. The engine is a stand-in that answers after `--latency` seconds. It takes 5
requests in any second and refuses others with 429 and `Retry-After`, in whole seconds, as most providers say it.
`selfreward judge` judges the file through a judge, in processes of their own. `seconds` are from the first request to
the last answer, `seconds_of_the_limit` those of a client that knows the limit, and `command_seconds` are all that the
command takes, with its start.
"""

import argparse
import asyncio
import json
import math
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

from aiohttp import web

from bench.services import ROOT, commit, drop_settings, until_ready
from selfreward.processes.child import free_port, start_child, stop_child


class LimitedEngine:
    """Takes `limit` requests in any second."""

    def __init__(self, limit: int, latency: float) -> None:
        self.limit = limit
        self.latency = latency
        self.taken: deque[float] = deque()
        self.answers = self.refusals = 0
        self.first_request = self.last_answer = 0.0

    def app(self) -> web.Application:
        """The server."""
        app = web.Application()
        app.add_routes([web.post("/v1/chat/completions", self.chat), web.get("/v1/models", self.models)])
        return app

    async def models(self, _: web.Request) -> web.Response:
        """What is served."""
        return web.json_response({"object": "list", "data": [{"id": "limited"}]})

    async def chat(self, request: web.Request) -> web.Response:
        """An answer, or 429 beyond the limit."""
        body, now = await request.json(), time.monotonic()
        self.first_request = self.first_request or now
        while self.taken and self.taken[0] <= now - 1:
            self.taken.popleft()
        if len(self.taken) == self.limit:
            self.refusals += 1
            wait = math.ceil(self.taken[0] + 1 - now)
            error = {"message": f"{self.limit} requests a second are allowed", "code": "rate_limit_exceeded"}
            return web.json_response({"error": error}, status=429, headers={"Retry-After": str(wait)})
        self.taken.append(now)
        await asyncio.sleep(self.latency)
        self.answers += 1
        self.last_answer = time.monotonic()
        message = {"role": "assistant", "content": "It is right.\nScore: 4"}
        choices = [{"index": index, "message": message, "finish_reason": "stop"} for index in range(body["n"])]
        return web.json_response({"object": "chat.completion", "model": body["model"], "choices": choices})


async def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Judge the rows through a judge, and count what became of them."""
    # The engine in this process, and the judge as a child.
    engine = LimitedEngine(arguments.limit, arguments.latency)
    runner = web.AppRunner(engine.app())
    await runner.setup()
    engine_port, port = free_port(), free_port()
    await web.TCPSite(runner, "127.0.0.1", engine_port).start()
    log, url = folder / "judge.log", f"http://127.0.0.1:{port}"
    settings = {
        "SELFREWARD_PORT": str(port),
        "SELFREWARD_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        "SELFREWARD_JUDGE_ENGINE_URL": f"http://127.0.0.1:{engine_port}/v1",
        "SELFREWARD_JUDGE_ENGINE_MODEL": "limited",
        "SELFREWARD_JUDGE_CACHE_SECONDS": "0",
    }
    judge = start_child([sys.executable, "-m", "services.judge"], log, settings)

    # Judge the file.
    rows, out = folder / "rows.jsonl", folder / "judged.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"p{row}", "response": "r"}) + "\n" for row in range(arguments.rows)))
    try:
        await until_ready(url, log)
        command = [sys.executable, "-m", "selfreward", "judge", str(rows), "--out", str(out)]
        started = time.monotonic()
        client = start_child(command, folder / "client.log", {"SELFREWARD_JUDGE_URL": url})
        status = await asyncio.to_thread(client.wait)
        command_seconds = time.monotonic() - started
    finally:
        await asyncio.to_thread(stop_child, judge)
        await runner.cleanup()

    judged = [json.loads(line) for line in out.read_text().splitlines()]
    seconds = engine.last_answer - engine.first_request
    own = (arguments.rows - arguments.limit) / arguments.limit + arguments.latency
    return {
        "rows": arguments.rows,
        "requests_per_second": arguments.limit,
        "exit_status": status,
        "scored": sum(row["score"] == 4 for row in judged),
        "seconds": seconds,
        "seconds_of_the_limit": own,
        "ratio_to_limit": seconds / own,
        "command_seconds": command_seconds,
        "answers": engine.answers,
        "refusals": engine.refusals,
    }


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--limit", type=int, default=5, help="requests that the engine takes in any second")
    parser.add_argument("--latency", type=float, default=0.5, help="seconds until an answer")
    arguments = parser.parse_args()
    drop_settings()
    with tempfile.TemporaryDirectory() as scratch:
        result = asyncio.run(measure(Path(scratch), arguments))
    out = ROOT / "bench" / "results" / "rate_limit.json"
    options = f"--rows {arguments.rows} --limit {arguments.limit} --latency {arguments.latency}"
    written = {"command": f"python -m bench.rate_limit {options}", "commit": commit(), **result}
    out.write_text(json.dumps(written, indent=1) + "\n")
    lost = arguments.rows - result["scored"]
    print(f"{lost} rows lost, {result['ratio_to_limit']:.3f} of the limit's own time; {out}")


if __name__ == "__main__":
    main()
