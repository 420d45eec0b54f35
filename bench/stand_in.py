"""A stand-in for GPUs: an OpenAI-compatible server whose answers take as long as those of a modelled engine.

Every sequence takes one of the engine's places for the time to the first token and the time of its tokens. Their number
is drawn between half of `max_tokens` and all of them. The draw depends only on the request's seed, so a repeated
request takes the same time. The text has about as many words as tokens, and ends with a score.

`python -m bench.stand_in --port 8000 --first-token 0.05 --token 0.0025 --sequences 512`
"""

import argparse
import asyncio
import random
from typing import Any

from aiohttp import web

from bench.scaling import Engine, Lengths
from selfreward.client.generator import VERSION_HEADER

POLICY = "policy@0"
PROMPT_TOKENS = 256


def lengths(max_tokens: int) -> Lengths:
    """The number of tokens of a sequence that may have `max_tokens`."""
    return Lengths(max_tokens / 2, max_tokens)


def tokens_of(body: dict[str, Any]) -> list[int]:
    """The number of tokens of each sequence of a chat request."""
    low, high = lengths(body["max_tokens"])
    draw = random.Random(body["seed"])
    return [round(draw.uniform(low, high)) for _ in range(body["n"])]


def completion(body: dict[str, Any], tokens: list[int]) -> dict[str, Any]:
    """The answer to a chat request, in OpenAI's form."""
    choices = [
        {
            "index": index,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": f"{'word ' * (count - 4)}\nScore: {count % 6}"},
        }
        for index, count in enumerate(tokens)
    ]
    usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": sum(tokens)}
    usage["total_tokens"] = sum(usage.values())
    return {"object": "chat.completion", "model": body["model"], "choices": choices, "usage": usage}


def create_app(engine: Engine) -> web.Application:
    """The server. It serves one version, `policy@0`."""
    places = asyncio.Semaphore(engine.sequences)

    async def sequence(tokens: int) -> None:
        async with places:
            await asyncio.sleep(engine.seconds(tokens))

    async def chat(request: web.Request) -> web.Response:
        body = await request.json()
        tokens = tokens_of(body)
        await asyncio.gather(*map(sequence, tokens))
        return web.json_response(completion(body, tokens), headers={VERSION_HEADER: POLICY})

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "policy"}, {"id": POLICY}]})

    app = web.Application()
    app.add_routes([web.post("/v1/chat/completions", chat), web.get("/v1/models", models)])
    return app


def main() -> None:
    """Serve on loopback until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--first-token", type=float, required=True, help="seconds")
    parser.add_argument("--token", type=float, required=True, help="seconds")
    parser.add_argument("--sequences", type=int, required=True, help="concurrent")
    arguments = parser.parse_args()
    engine = Engine(arguments.first_token, arguments.token, arguments.sequences)
    web.run_app(create_app(engine), host="127.0.0.1", port=arguments.port, access_log=None, print=None)


if __name__ == "__main__":
    main()
