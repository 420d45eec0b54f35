"""How long an engine asks to wait with HTTP 429: `Retry-After` and its relatives, in all forms that providers send."""

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

_UNITS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = r"(\d+(?:\.\d+)?)(d|h|ms|m|s|us|µs|ns)"
_DURATION = re.compile(f"(?:{_PART})+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_RESET = re.compile(r"rate-?limit.*reset")
_EPOCH = 1e9
"""A number from here on is a time since 1970: in seconds, or from a hundred times that on in milliseconds."""
_LONGEST_RESET_SECONDS = 60.0


def wait_of(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds to wait before the next request; None if the headers of a 429 do not say. Names are in lower case.

    `retry-after-ms` and `Retry-After` say when to try again. Headers as `x-ratelimit-reset-requests` only say when the
    whole allowance will be back, so they count where those are missing, for a minute at most: the latest of the
    allowances of which nothing remains, else the soonest. `now` is the time since 1970 if the engine sends no `Date`.
    """
    now = _moment(headers.get("date", "")) or now
    milliseconds = _seconds(headers.get("retry-after-ms", ""), now)
    if milliseconds is not None:
        return milliseconds / 1000
    after = _seconds(headers.get("retry-after", ""), now)
    if after is not None:
        return after
    resets = {name: _seconds(value, now) for name, value in headers.items() if _RESET.search(name)}
    known = {name: seconds for name, seconds in resets.items() if seconds is not None}
    used_up = [seconds for name, seconds in known.items() if headers.get(name.replace("reset", "remaining")) == "0"]
    if not known:
        return None
    return min(max(used_up) if used_up else min(known.values()), _LONGEST_RESET_SECONDS)


def _seconds(text: str, now: float) -> float | None:
    """The seconds from `now` on that a value means: `2`, `0.5`, `6m0s`, `20ms`, or a point in time."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        number = float(text)
        if number < _EPOCH:
            return number
        return max(0.0, (number if number < 100 * _EPOCH else number / 1000) - now)
    if _DURATION.fullmatch(text):
        return sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, text))
    moment = _moment(text)
    return None if moment is None else max(0.0, moment - now)


def _moment(text: str) -> float | None:
    """The time since 1970 of an HTTP date or an RFC 3339 time."""
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return parse(text).timestamp()
        except (ValueError, OverflowError):
            continue
    return None
