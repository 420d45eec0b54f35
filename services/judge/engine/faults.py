"""What a failed engine request means: a fault of the item, of the judge's settings, or of the moment.

Providers agree on few codes, so their messages are read too. docs/engines.md lists who says what.
"""

import re
from typing import Literal, NamedTuple

from selfreward.client.http import ServiceError

_TOO_LONG = re.compile(
    r"context[ _](?:length|window|size|limit)|maximum (?:prompt|input) length|token count\b.{0,80}\bexceed|token limit"
    r"|\b(?:prompt|input|request)s?\b.{0,40}\btoo (?:long|large)\b|tokens?_too_long|too many (?:input )?tokens"
    r"|longer than the (?:maximum )?model|\binputs`? (?:tokens \+|must have less than)|input length should be"
    r"|\"code\": ?\"?1261\b",
    re.IGNORECASE,
)
_FILTERED = re.compile(
    r"content[ _](?:filter|policy|management|moderation|violates|exists risk)|responsible_?ai|data_?inspection_?failed"
    r"|usage (?:policy|policies|guidelines)|safety system|moderation|\bflagged\b|\"code\": ?\"?1301\b",
    re.IGNORECASE,
)
_NO_KEY = re.compile(r"api[ _-]?key (?:is )?(?:not valid|invalid|expired|missing)|invalid[ _]api[ _]key", re.IGNORECASE)
_NO_MODEL = re.compile(
    r"\bmodel\b[^.]{0,80}(?:not exist|not found|not valid)|not a valid model|invalid[ _]model|model_not_found"
    r"|\"code\": ?\"?1211\b",
    re.IGNORECASE,
)

_ITEM_STATUSES = frozenset({400, 413, 422})
"""Statuses with which engines refuse one request."""
_FILTER_STATUSES = frozenset({400, 403, 422, 451})
_KEY = "mend SELFREWARD_JUDGE_ENGINE_KEY (of the generator SELFREWARD_API_KEY, of a jury SELFREWARD_JUDGE_ENGINES)"
_MODEL = "mend SELFREWARD_JUDGE_ENGINE_MODEL or SELFREWARD_JUDGE_ENGINE_URL (of a jury SELFREWARD_JUDGE_ENGINES)"
_URL = "mend SELFREWARD_JUDGE_ENGINE_URL (of a jury SELFREWARD_JUDGE_ENGINES)"
_TO_MEND = {
    401: f"the judging engine refuses the key: {_KEY}",
    402: "the judging engine asks for payment: pay, or set SELFREWARD_JUDGE_ENGINE_KEY to the key of another account",
    403: f"the judging engine forbids the key to use the model: {_KEY}, or SELFREWARD_JUDGE_ENGINE_MODEL",
    404: f"the judging engine has no such model or route: {_MODEL}",
    405: f"the judging engine has no such route: {_MODEL}",
    **dict.fromkeys((301, 302, 307, 308), f"the judging engine is elsewhere: {_URL}"),
}


class Fault(NamedTuple):
    """Why there is no vote, and the status of the vote that says so."""

    status: Literal["refused", "too_long", "error"]
    reason: str


def fault_of(status: int | None, message: str, body: str = "") -> Fault:
    """What became of a request that the engine refused with an HTTP status and a message, seen from its item.

    `body` is the whole answer, which has the codes that its message lacks.
    """
    told = body or message
    if status == 413 or (status in _ITEM_STATUSES | {500} and _TOO_LONG.search(told)):
        return Fault("too_long", message)
    if status in _FILTER_STATUSES and _FILTERED.search(told):
        return Fault("refused", f"the engine's content filter refused the prompt: {message}")
    mend = setting_to_mend(status, told)
    return Fault("error", f"{mend}: {message}" if mend else message)


def is_items_own(error: ServiceError) -> bool:
    """Whether another item may get an answer where this one got an error."""
    if setting_to_mend(error.status, error.body or str(error)):
        return False
    return error.status in _ITEM_STATUSES or fault_of(error.status, str(error), error.body).status != "error"


def setting_to_mend(status: int | None, message: str) -> str | None:
    """What to set right before any request can succeed; None where that is not the fault.

    `message` is the whole answer where there is one.
    """
    if status in _FILTER_STATUSES and _FILTERED.search(message):
        return None
    if status == 429 and "insufficient_quota" in message:
        return _TO_MEND[402]
    if status == 400 and not _TOO_LONG.search(message):
        status = 401 if _NO_KEY.search(message) else 404 if _NO_MODEL.search(message) else 400
    return _TO_MEND.get(status or 0)
