"""Control calls to the engine. Each has a deadline, and its answer is checked."""

from pathlib import Path
from typing import Any

import httpx

from selfreward.contracts.base import Message
from services.generator.engine.process import SERVED_NAME, EngineFailed


def control_client() -> httpx.AsyncClient:
    """A client for control calls. No connection is kept: after an error the engine's server drops it."""
    return httpx.AsyncClient(limits=httpx.Limits(max_keepalive_connections=0), trust_env=False)


class EngineAdmin:
    """vLLM's development routes at `url`, called through `http`, a `control_client`; `deadline` is in seconds.

    Every method raises EngineFailed when the engine does not answer in time, answers with an error, or did not do what
    it was asked for.
    """

    def __init__(self, http: httpx.AsyncClient, url: str, deadline: float) -> None:
        self._http = http
        self._url = url
        self._deadline = deadline

    async def _call(
        self,
        method: str,
        path: str,
        body: Any = None,
        params: dict[str, str] | None = None,
        deadline: float | None = None,
    ) -> Any:
        # The time to connect is as long: a busy server is slow to accept, and one that is gone refuses at once.
        timeout = httpx.Timeout(deadline or self._deadline)
        try:
            reply = await self._http.request(method, f"{self._url}{path}", json=body, params=params, timeout=timeout)
        except httpx.TransportError as error:
            raise EngineFailed(f"engine {method} {path}: {type(error).__name__} {error}") from error
        if not reply.is_success:
            raise EngineFailed(f"engine {method} {path}: HTTP {reply.status_code}: {reply.text[:500]}")
        return reply.json() if reply.content else None

    async def pause(self) -> None:
        """Stop scheduling when every request has ended, and clear the caches."""
        await self._call("POST", "/pause", params={"mode": "wait", "clear_cache": "true"})

    async def resume(self) -> None:
        """Schedule requests again."""
        await self._call("POST", "/resume")
        if await self.is_paused():
            raise EngineFailed("engine is still paused after /resume")

    async def is_paused(self) -> bool:
        """Whether the scheduler is paused."""
        return bool((await self._call("GET", "/is_paused"))["is_paused"])

    async def abort_requests(self) -> None:
        """End all requests in flight; their answers have the finish reason `abort`."""
        await self._call("POST", "/abort_requests", body={})

    async def reload(self, folder: Path, deadline: float) -> None:
        """Read the weights of `folder`, an absolute path, into the running model, within `deadline` seconds."""
        kwargs = {"weights_path": str(folder)}
        body = {"method": "reload_checkpoint", "kwargs": kwargs, "timeout": deadline}
        await self._call("POST", "/collective_rpc", body=body, deadline=deadline + 10)

    async def reset_prefix_cache(self) -> None:
        """Forget cached prefixes: a reload keeps those of the old weights."""
        answer = await self._call("POST", "/reset_prefix_cache")
        if answer.get("success") is not True:
            raise EngineFailed(f"engine could not reset its prefix cache: {answer}")

    async def label(self, version: str) -> None:
        """Tell the engine the name of its weights, and read it back."""
        await self._call("POST", "/update_weight_version", body={"new_version": version})
        answer = await self._call("GET", "/weight_info")
        if version not in answer.values():
            raise EngineFailed(f"engine says {answer} after it was told that its weights are {version!r}")

    async def likeliest(self, messages: list[Message], answer: list[int], listed: int) -> list[dict[int, float]]:
        """The `listed` likeliest tokens at each place of `answer`, token ids of the assistant's turn after `messages`.

        Log-probabilities in nats, by token id. Each place is asked for as the next token after those before it: the
        engine would compute log-probabilities of a whole prompt in memory that it may not have.
        """
        chat = {"model": SERVED_NAME, "messages": [message.model_dump() for message in messages]}
        prompt = (await self._call("POST", "/tokenize", body=chat))["tokens"]
        body = {
            "model": SERVED_NAME,
            "prompt": [prompt + answer[:place] for place in range(len(answer))],
            "temperature": 0,
            "max_tokens": 1,
            "logprobs": listed,
            "return_tokens_as_token_ids": True,
        }
        choices = (await self._call("POST", "/v1/completions", body=body))["choices"]
        choices.sort(key=lambda choice: choice["index"])
        tops = [choice["logprobs"]["top_logprobs"][0] for choice in choices]
        return [{int(token.removeprefix("token_id:")): value for token, value in top.items()} for top in tops]

    async def max_model_len(self) -> int:
        """Longest sequence, prompt and answer together, in tokens."""
        return int((await self._call("GET", "/v1/models"))["data"][0]["max_model_len"])

    async def metrics(self) -> str:
        """The engine's Prometheus page."""
        try:
            return (await self._http.get(f"{self._url}/metrics", timeout=self._deadline)).raise_for_status().text
        except httpx.HTTPError as error:
            raise EngineFailed(f"engine GET /metrics: {type(error).__name__} {error}") from error
