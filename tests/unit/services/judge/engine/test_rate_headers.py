"""What engines say with HTTP 429 about when to come back, in every form that providers send."""

from email.utils import formatdate

import httpx
import pytest

from services.judge.engine.rate_headers import wait_of

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "2"}, 2),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": formatdate(NOW + 7, usegmt=True)}, 7),
        ({"Retry-After": formatdate(NOW - 7, usegmt=True)}, 0),
        ({"retry-after-ms": "150", "Retry-After": "1"}, 0.15),
        ({"x-ratelimit-reset-requests": "1s"}, 1),
        ({"x-ratelimit-reset-requests": "20ms"}, 0.02),
        ({"x-ratelimit-reset-tokens": "1m30.5s"}, 60),
        ({"x-ratelimit-reset-tokens": "6m0s"}, 60),
        ({"x-ratelimit-reset-tokens": "41.3s"}, 41.3),
        ({"x-ratelimit-reset": "12"}, 12),
        ({"x-ratelimit-reset": str(int(NOW) + 12)}, 12),
        ({"X-RateLimit-Reset": str(int(NOW + 12) * 1000)}, 12),
        ({"anthropic-ratelimit-requests-reset": "2027-01-15T08:00:09Z"}, 9),
        ({"Retry-After": "3", "x-ratelimit-reset-requests": "50s"}, 3),
        # Of two allowances that one counts of which nothing remains, or else the one that is back first.
        (
            {
                "x-ratelimit-reset-requests": "8ms",
                "x-ratelimit-remaining-requests": "499",
                "x-ratelimit-reset-tokens": "9s",
                "x-ratelimit-remaining-tokens": "0",
            },
            9,
        ),
        ({"x-ratelimit-reset-requests": "120ms", "x-ratelimit-reset-tokens": "6m0s"}, 0.12),
        # By the engine's own clock, which is an hour ahead.
        ({"Date": formatdate(NOW + 3600, usegmt=True), "Retry-After": formatdate(NOW + 3605, usegmt=True)}, 5),
        ({}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-1"}, None),
        ({"x-ratelimit-limit-requests": "500"}, None),
    ],
)
def test_the_wait(headers: dict[str, str], seconds: float | None) -> None:
    wait = wait_of(httpx.Headers(headers), NOW)

    assert wait == (None if seconds is None else pytest.approx(seconds))
