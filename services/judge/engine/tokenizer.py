"""Which texts are special tokens of the engine's tokenizer: asked of engines that can tell (vLLM's `/tokenize`)."""

import time
from collections.abc import Set as AbstractSet

from selfreward.client.http import ServiceClient, ServiceError
from services.judge.rubrics.special_tokens import UNKNOWN_ENGINE, SpecialTokens

_ROUTE = "/../tokenize"
"""Beside the version, the last part of the engine's base URL (`/v1`)."""
_ASK_AGAIN_SECONDS = 30.0
_MOST_ASKED = 1000
_MOST_REMEMBERED = 10_000


class EngineTokens:
    """Asks the engine that serves `model`, for each text once."""

    def __init__(self, probe: ServiceClient, model: str) -> None:
        self._probe = probe
        self._model = model
        self._answers: dict[str, bool] = {}
        self._ask_at = 0.0

    async def among(self, suspects: AbstractSet[str]) -> SpecialTokens:
        """Those of the suspects that are special tokens. An engine that is away or cannot tell is an unknown one.

        Suspects beyond the first 1,000 new ones of a call count as tokens.
        """
        new = sorted(suspects - self._answers.keys())
        if not new:
            return SpecialTokens(frozenset(text for text in suspects if self._answers[text]))
        if time.monotonic() < self._ask_at:
            return UNKNOWN_ENGINE
        try:
            tokens = await self._ask(new[:_MOST_ASKED])
        except ServiceError as error:
            is_refusal = error.status is not None and 400 <= error.status < 500
            self._ask_at = float("inf") if is_refusal else time.monotonic() + _ASK_AGAIN_SECONDS
            return UNKNOWN_ENGINE
        except (ValueError, KeyError, TypeError):
            self._ask_at = float("inf")
            return UNKNOWN_ENGINE
        answers = self._answers | {text: text in tokens for text in new[:_MOST_ASKED]}
        self._answers = answers if len(answers) <= _MOST_REMEMBERED else {}
        return SpecialTokens(frozenset(text for text in suspects if answers.get(text, True)))

    async def _ask(self, texts: list[str]) -> set[str]:
        """Those that come back as one token. Raises ServiceError, or ValueError and its like for another answer."""
        body = {"prompt": "\n".join(texts), "add_special_tokens": False, "return_token_strs": True}
        response = await self._probe.request("POST", _ROUTE, json={"model": self._model, **body})
        return {token for token in response.json()["token_strs"] if isinstance(token, str)}
