"""The HTTP client of one engine: at its pace, and with one log line for each call that fails."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

import httpx

from selfreward.client.http import ServiceClient, ServiceError
from services.judge.engine.pace import Pace
from services.judge.engine.rate_headers import wait_of
from services.judge.metrics import ENGINE_RATE_LIMITED

_NO_CREDIT = "insufficient_quota"
"""OpenAI's code of a 429 that waiting does not help."""
_MOST_SHOWN = 300
_log = logging.getLogger(__name__)


class EngineClient(ServiceClient):
    """A ServiceClient at the `pace` of its engine. A 429 is no failed attempt: the request goes again, in its turn.

    Its deadline bounds that too. A 429 that says that the account has no credit is final.
    """

    def __init__(self, base_url: str, api_key: str | None, pace: Pace, **options: Any) -> None:
        super().__init__(base_url, api_key, **options)
        self._pace = pace

    async def _once(self, method: str, path: str, json: Any, headers: Mapping[str, str] | None) -> httpx.Response:
        loop = asyncio.get_running_loop()
        began, model = loop.time(), (json or {}).get("model")
        while True:
            sent_at = await self._pace.turn(began + self._deadline - loop.time())
            try:
                response = await super()._once(method, path, json, headers)
            except (httpx.TransportError, httpx.DecodingError) as error:
                _log_failure(None, f"{type(error).__name__}: {error}", loop.time() - sent_at, model)
                raise
            status = response.status_code
            no_credit = status == 429 and _NO_CREDIT in response.text
            if status != 429 or no_credit:
                self._pace.answered(sent_at)
                if not response.is_success:
                    _log_failure(status, response.text, loop.time() - sent_at, model)
                if no_credit:
                    refusal = f"{method} {response.url}: HTTP 429: {response.text[:500]}"
                    raise ServiceError(refusal, status, response.text)
                return response

            # Slow down, and try again.
            ENGINE_RATE_LIMITED.inc()
            pause = self._pace.refused(sent_at, wait_of(response.headers, time.time()))
            if pause is not None:
                fields = {"reason": response.text[:_MOST_SHOWN], "pause": round(pause, 3), "rate": self._pace.rate}
                _log.warning("the engine limits its rate, so requests wait", extra={"model": model, **fields})


def _log_failure(status: int | None, reason: str, seconds: float, model: str | None) -> None:
    reason = reason if len(reason) <= _MOST_SHOWN else f"{reason[:_MOST_SHOWN]}..."
    fields = {"status": status, "reason": reason, "seconds": round(seconds, 3), "model": model}
    _log.warning("an engine call failed", extra=fields)
